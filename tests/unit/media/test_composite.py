"""The composite is what its truth says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import captions, composite
from tests.media.truth import Span, Truth

SMALL = (48, 27)
CUT_DIFFERENCE = 35.0  # of 255; measured: hard cuts differ by 45 or more, the fastest motion by 24
SAME_CAPTION = 20.0  # mean difference of a burnt-in caption after coding; measured: below 4


@dataclass(frozen=True)
class Watched:
    """What the tests look at: the truth, each frame's small picture, keyframes and caption likenesses."""

    truth: Truth
    small: NDArray[np.int16]
    keyframes: list[int]
    caption_error: NDArray[np.float64]  # caption x frame: mean difference from the caption's own pixels
    size: tuple[int, int]
    seconds: list[float]


def _watch(path: Path, truth: Truth) -> Watched:
    places = {line.text: line.place for part in composite.REEL if (line := part.line)}
    stamps = [captions.stamp(each.text, truth.width, truth.height, places[each.text]) for each in truth.captions]
    small, keyframes, errors, seconds = [], [], [], []
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            picture = frame.to_ndarray(format="rgb24")
            small.append(cv2.resize(picture, SMALL, interpolation=cv2.INTER_AREA).astype(np.int16))
            errors.append([_difference(picture, stamp) for stamp in stamps])
            seconds.append(frame.time)
            if frame.key_frame:
                keyframes.append(index)
        size = (frame.width, frame.height)
    return Watched(truth, np.stack(small), keyframes, np.array(errors).T, size, seconds)


def _difference(picture: NDArray[np.uint8], stamp: captions.Stamp) -> float:
    x0, y0, x1, y1 = stamp.paper
    return float(np.abs(picture[y0:y1, x0:x1].astype(np.int16) - stamp.pixels[..., None]).mean())


def _jumps(small: NDArray[np.int16]) -> list[int]:
    """A naive detector: frames that differ much from the one before."""
    return [i + 1 for i, (a, b) in enumerate(pairwise(small)) if np.abs(a - b).mean() > CUT_DIFFERENCE]


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    path = tmp_path_factory.mktemp("composite") / "reel.mp4"
    return _watch(path, composite.build_composite(path))


@pytest.fixture(scope="module")
def fades(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    path = tmp_path_factory.mktemp("composite") / "fades.mp4"
    return _watch(path, composite.build_dissolves(path))


def test_format(reel: Watched) -> None:
    assert reel.size == (1280, 720)
    assert len(reel.small) == reel.truth.frames == 602
    assert reel.seconds == pytest.approx([index / 25 for index in range(602)])
    assert max(b - a for a, b in pairwise([*reel.keyframes, 602])) <= composite.GOP


def test_the_file_can_be_read_from_its_start(tmp_path: Path) -> None:
    composite.build_composite(tmp_path / "reel.mp4")
    data = (tmp_path / "reel.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_cuts_are_where_the_picture_jumps(reel: Watched) -> None:
    assert tuple(_jumps(reel.small)) == reel.truth.cuts
    assert len(reel.truth.shots) == 11


def test_bikes_holds_six_shots() -> None:
    truth = composite.truth_of((composite.Part("bikes", 0, 250),))
    assert truth.cuts == ()  # the recipe knows only its own joints, so REEL lists each shot of the clip as a part
    starts = [part.start for part in composite.REEL if part.clip == "bikes"]
    assert starts == [0, 30, 76, 137, 187, 242]


def test_captions_are_burnt_in_exactly_while_the_truth_says_so(reel: Watched) -> None:
    assert len(reel.truth.captions) == 5
    for caption, errors in zip(reel.truth.captions, reel.caption_error, strict=True):
        shown = np.flatnonzero(errors < SAME_CAPTION)
        assert shown.tolist() == list(range(caption.span.start, caption.span.end)), caption.text


def test_caption_boxes_hug_the_letters(reel: Watched) -> None:
    for caption in reel.truth.captions:
        x0, y0, x1, y1 = caption.box
        assert 0 <= x0 < x1 <= 1280
        assert 0 <= y0 < y1 <= 720
        assert 30 <= y1 - y0 <= 60


def test_every_kind_of_sight_occurs(reel: Watched) -> None:
    truth = reel.truth
    assert truth.persons
    assert truth.cars
    assert truth.bicycles
    assert truth.faces
    assert truth.no_faces
    assert not any(face.overlaps(free) for face in truth.faces for free in truth.no_faces)
    street = truth.shots[6]
    assert any(span == street for span in truth.no_faces)
    assert any(span.overlaps(street) for span in truth.cars)


def test_sights_keep_to_their_shot(reel: Watched) -> None:
    truth = reel.truth
    for span in truth.spans:
        assert any(shot.start <= span.start and span.end <= shot.end for shot in truth.shots), span


def test_dissolves_are_no_jumps(fades: Watched) -> None:
    assert len(fades.small) == fades.truth.frames
    assert tuple(_jumps(fades.small)) == fades.truth.cuts
    assert len(fades.truth.cuts) == 1
    assert [span.end - span.start for span in fades.truth.dissolves] == [12, 12, 12]


def test_dissolves_lead_from_one_shot_to_the_next(fades: Watched) -> None:
    for span in fades.truth.dissolves:
        before, middle, after = (
            fades.small[i].astype(float) for i in (span.start - 1, (span.start + span.end) // 2, span.end)
        )
        assert np.abs(before - after).mean() > CUT_DIFFERENCE  # two different shots ...
        assert np.abs(middle - (before + after) / 2).mean() < 0.35 * np.abs(before - after).mean()  # ... mixed


def test_truth_survives_json(reel: Watched, tmp_path: Path) -> None:
    reel.truth.write(tmp_path / "truth.json")
    assert Truth.read(tmp_path / "truth.json") == reel.truth


def test_recipe_hash_follows_the_recipe() -> None:
    assert composite.recipe_hash(composite.REEL) != composite.recipe_hash(composite.REEL[1:])


@pytest.mark.parametrize(("cuts", "span"), [((0,), Span(0, 1)), ((5, 5), Span(0, 1)), ((), Span(5, 11))])
def test_truth_refuses_nonsense(cuts: tuple[int, ...], span: Span) -> None:
    with pytest.raises(ValueError):
        Truth(width=2, height=2, fps=25, frames=10, cuts=cuts, faces=(span,))


def test_command_line_writes_video_and_truth(tmp_path: Path) -> None:
    video, truth = tmp_path / "out" / "demo.mp4", tmp_path / "truth.json"
    assert composite.main([str(video), "--truth", str(truth)]) == 0
    assert video.stat().st_size > 1_000_000
    assert Truth.read(truth) == composite.truth_of(composite.REEL)

"""Labelled sets on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.comparing.answers import Span
from orchestrator.comparing.truth import Truth, read_folder
from orchestrator.errors import InvalidRequest
from tests.conftest import Film
from tests.media.labelled import truth_of


def write(folder: Path, truth: object, clip: str = "a.mp4") -> None:
    (folder / clip).write_bytes(b"")
    (folder / f"{clip}.truth.json").write_text(json.dumps(truth))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    truth = Truth(frames=9, cuts=(3,), text=({"text": "EXIT", "span": (0, 3)},))  # type: ignore[arg-type]
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"")
    truth.write_beside(clip)
    assert read_folder(tmp_path) == {clip: truth}
    assert "dissolves" not in (tmp_path / "a.mp4.truth.json").read_text()


def test_what_is_left_out_is_not_known(tmp_path: Path) -> None:
    write(tmp_path, {})
    (truth,) = read_folder(tmp_path).values()
    assert truth.cuts is None
    write(tmp_path, {"cuts": []})
    (truth,) = read_folder(tmp_path).values()
    assert truth.cuts == ()


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        ({"cust": []}, "cust: Extra inputs"),
        ({"cuts": [0]}, "cuts.0: Input should be greater than 0"),
        ({"text": [{"text": "x", "span": [5, 5]}]}, "text.0.span: .*at least one frame"),
        ({"text": [{"text": "x", "span": [1, 2, 3]}]}, "text.0.span"),
        (
            {"objects": {"dog": {"boxes": [{"span": [0, 1], "boxes": [[0.5, 0, 0.4, 1]]}]}}},
            r"boxes\.0\.boxes\.0: .*0\.\.1",
        ),
        ({"faces": [{"span": [0, 1], "count": -1}]}, "faces.0.count"),
        ({"labels": [{"span": [0, 1], "any": []}]}, "labels.0.any"),
        ([], "valid dictionary|object"),
    ],
)
def test_a_broken_truth_is_named_with_the_rule(tmp_path: Path, truth: object, said: str) -> None:
    write(tmp_path, truth)
    with pytest.raises(InvalidRequest, match=rf"^a\.mp4\.truth\.json: .*({said})"):
        read_folder(tmp_path)


def test_a_truth_without_its_clip_and_a_folder_without_truth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="holds no clip"):
        read_folder(tmp_path)
    (tmp_path / "a.mp4.truth.json").write_text("{}")
    with pytest.raises(InvalidRequest, match=r"stands beside no clip a\.mp4"):
        read_folder(tmp_path)
    (tmp_path / "a.mp4.truth.json").write_text("{")
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(InvalidRequest, match=r"a\.mp4\.truth\.json: Invalid JSON"):
        read_folder(tmp_path)


def test_the_example_in_the_notes_is_one() -> None:
    notes = (Path(__file__).parents[3] / "ops" / "comparing.md").read_text(encoding="utf-8")
    example = notes[notes.index("    {\n") : notes.index("    }\n") + 6]
    truth = Truth.model_validate_json(example)
    assert truth.model_fields_set == set(Truth.model_fields), "every key is shown"


def test_the_composite_is_a_labelled_set(composite: Film) -> None:
    truth = truth_of(composite.truth)
    assert (truth.frames, truth.cuts) == (602, composite.truth.cuts)
    assert truth.text[0].span == Span(0, 50)
    assert truth.objects["bicycle"].boxes[0].span == Span(489, 544)
    assert Truth.model_validate_json(truth.model_dump_json(exclude_defaults=True)) == truth

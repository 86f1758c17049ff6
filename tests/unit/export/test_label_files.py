"""labels.txt: one label per line, and characters that a line cannot hold are written by their code."""

from __future__ import annotations

from pathlib import Path

import pytest

from export import registry
from export.builders.text_recognition import escaped
from export.repository import write_labels

(SPEC,) = registry.specs(["text_recognition"])


@pytest.mark.parametrize(
    ("character", "line"),
    [("a", "a"), ("<", "<"), ("字", "字"), (" ", "<U+0020>"), ("\u3000", "<U+3000>"), ("\u2028", "<U+2028>")],
)
def test_white_space_is_written_by_its_code(character: str, line: str) -> None:
    assert escaped(character) == line


def test_labels_are_written_in_order(tmp_path: Path) -> None:
    write_labels(tmp_path, SPEC, ("<blank>", "é", "<U+0020>"))
    assert (tmp_path / SPEC.name / "labels.txt").read_bytes() == "<blank>\né\n<U+0020>\n".encode()


@pytest.mark.parametrize("label", ["", "two\nlines", "return\r"])
def test_a_label_that_is_no_line_is_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(ValueError, match="single lines"):
        write_labels(tmp_path, SPEC, ("fine", label))


def test_the_committed_alphabet_is_complete() -> None:
    text = (Path(__file__).resolve().parents[3] / "model_repository" / SPEC.name / "labels.txt").read_text("utf-8")
    lines = text.split("\n")[:-1]
    assert (len(lines), lines[0], lines[-1]) == (18710, "<blank>", "<U+0020>")
    assert all(len(line) == 1 or line.startswith("<U+") for line in lines[1:])
    assert len(set(lines)) == len(lines)

"""Every row comes back through the csv module, and no cell can become a formula."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings

from orchestrator.core.results import Annotation, At, LabelScore, Moderation, ObjectTrack, Segment, Shot, TextLine
from orchestrator.core.timeline import Interval
from orchestrator.exports.csv_file import COLUMNS
from orchestrator.exports.subject import one_line
from tests.unit.exports.made import Made, analyses, composite, media, record


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))


@settings(max_examples=25, deadline=None)
@given(made=analyses())
def test_rows_say_what_the_segments_say(made: Made) -> None:
    rows = read(made.file("csv"))
    assert len(rows) == len(made.segments)
    for row, segment in zip(rows, made.segments, strict=True):
        interval = segment.interval
        assert tuple(row) == COLUMNS
        assert Interval(*(int(row[name]) for name in COLUMNS[3:7])) == interval
        numerator, denominator = map(int, row["time_base"].split("/"))
        for end in ("start", "end"):
            exact = (int(row[f"{end}_pts"]) - made.media.start_pts) * numerator * 10**9 // denominator
            assert int(row[f"{end}_ns"]) == exact
            assert int(row[f"{end}_seconds"].replace(".", "")) == exact
        answered = {annotation.analyzer for annotation in segment.annotations}
        texts = [line.text for each, line in made.each(TextLine) if each is segment]
        assert row["text"] == "" if "text" not in answered else json.loads(row["text"]) == texts
        labels = [[label.label, label.score] for each, label in made.each(LabelScore) if each is segment]
        assert row["labels"] == "" if "labels" not in answered else json.loads(row["labels"]) == labels
        classes = Counter(track.label for each, track in made.each(ObjectTrack) if each is segment)
        assert row["objects"] == "" if "objects" not in answered else dict(json.loads(row["objects"])) == classes
        for shot in (shot for each, shot in made.each(Shot) if each is segment):
            assert (int(row["shot_index"]), float(row["cut_score"])) == (shot.shot_index, shot.score)
        for worst in (worst for each, worst in made.each(Moderation) if each is segment):
            assert row["moderation_label"].removeprefix("'") == one_line(worst.label).removeprefix("'")
            assert float(row["moderation_max_score"]) == worst.max_score


@settings(max_examples=25, deadline=None)
@given(made=analyses())
def test_a_row_is_one_line_and_no_cell_a_formula(made: Made) -> None:
    assert len(made.file("csv").splitlines()) == len(made.segments) + 1
    for row in read(made.file("csv")):
        for cell in row.values():
            assert not cell.startswith(("=", "+", "@", "\t")), cell
            assert not cell.startswith("-") or cell[1:].isdigit(), cell


@pytest.mark.parametrize("text", ["=cmd()|' /C calc'!A0", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r\n=1", " =1"])
def test_formulas_are_kept_as_text(text: str) -> None:
    interval = Interval(0, 1, 0, 512)
    line = TextLine(text, 1.0, (0, 0, 1, 1), At(0, 0), At(0, 0), 1)
    answers = (Annotation("text", (), (line,), 1), Annotation("moderation", (), Moderation(text, 1, 1, At(0, 0)), 1))
    segments = (Segment(0, interval, answers, None, True),)
    (row,) = read(Made(replace(record(media()), id=text), segments).file("csv"))
    assert json.loads(row["text"]) == [text]
    assert row["moderation_label"] == row["analysis_id"] == "'" + text.strip()


def test_the_composite() -> None:
    rows = read(composite().file("csv"))
    third = rows[2]
    assert (third["start_frame"], third["end_pts"], third["time_base"]) == ("80", "64512", "1/12800")
    assert (third["start_seconds"], third["end_seconds"]) == ("3.200000000", "5.040000000")
    assert third["objects"] == '[["car",2],["person",1]]'
    assert json.loads(third["labels"])[0] == ["car mirror", 0.2953]
    assert (rows[-1]["final"], third["final"], third["text"]) == ("true", "false", "[]")

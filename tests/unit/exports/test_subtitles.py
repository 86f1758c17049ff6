"""WebVTT and SubRip through readers of others: times, and text that tries to be something else."""

from __future__ import annotations

import html
import io
import itertools
import re
from dataclasses import replace
from fractions import Fraction

import pysubs2
import pytest
import webvtt
from hypothesis import given, settings

from orchestrator.core.results import Annotation, At, Segment, TextLine
from orchestrator.core.timeline import Interval
from orchestrator.errors import InvalidRequest
from orchestrator.exports.subject import clock, one_line
from tests.unit.exports.made import NASTY, Made, analyses, composite, media, record

BOX = (0.0, 0.0, 1.0, 1.0)
JOINER = "\N{WORD JOINER}"


def vtt(data: bytes) -> webvtt.WebVTT:
    return webvtt.from_buffer(io.StringIO(data.decode()), format="vtt")


def srt(data: bytes) -> pysubs2.SSAFile:
    return pysubs2.SSAFile.from_string(data.decode(), format_="srt", keep_html_tags=True)


def ms(made: Made, pts: int) -> int:
    return made.seconds(pts) * 1000 // 1


def lines_of(segment: Segment) -> list[tuple[TextLine, Annotation]]:
    return [
        (line, annotation)
        for annotation in segment.annotations
        if annotation.analyzer == "text"
        for line in annotation.value
    ]


# --- WebVTT ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(made=analyses())
def test_cues_are_the_segments(made: Made) -> None:
    cues = list(vtt(made.file("webvtt")))
    assert [cue.identifier for cue in cues] == [str(segment.index) for segment in made.segments]
    for cue, segment in zip(cues, made.segments, strict=True):
        start, end = ms(made, segment.interval.start_pts), ms(made, segment.interval.end_pts)
        assert (cue.start, cue.end) == (clock(start, "."), clock(max(end, start + 1), "."))
        words = html.unescape(cue.raw_text)
        for line, _ in lines_of(segment):
            assert one_line(line.text) in words
        assert "<" not in cue.raw_text
        assert "-->" not in cue.raw_text


def test_every_frame_falls_into_the_cue_of_its_own_segment() -> None:
    """Frames of 29.97 per second, whose times are no whole milliseconds."""
    pts = [frame * 3003 for frame in range(601)]
    ends = [0, 7, 100, 101, 333, 600]
    segments = tuple(
        Segment(index, Interval(a, b, pts[a], pts[b]), (), None, b == 600)
        for index, (a, b) in enumerate(itertools.pairwise(ends))
    )
    facts = media(time_base=Fraction(1, 90000))
    cues = pysubs2.SSAFile.from_string(Made(record(facts), segments).file("webvtt").decode(), format_="vtt")
    for segment, cue in zip(segments, cues, strict=True):
        inside = [frame for frame in range(600) if cue.start * 90 <= pts[frame] < cue.end * 90]
        assert inside == list(range(segment.interval.start_frame, segment.interval.end_frame))


def test_the_composite_in_words() -> None:
    third = list(vtt(composite().file("webvtt")))[2]
    assert (third.start, third.end) == ("00:00:03.200", "00:00:05.040")
    assert third.lines == [
        "Shot 2",
        "Labels: car mirror 0.30; racer 0.28; minivan 0.07; cab 0.06",
        "Objects: 2 car; 1 person",
        "Moderation: nsfw 0.01",
    ]


# --- SubRip ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(made=analyses())
def test_every_line_of_text_is_a_cue(made: Made) -> None:
    found = [(event.start, event.end, event.text.replace(JOINER, "")) for event in srt(made.file("srt"))]
    expected = []
    for segment in made.segments:
        interval, cues = segment.interval, []
        for line, annotation in lines_of(segment):
            if text := one_line(line.text):
                distance = (interval.end_pts - interval.start_pts) // annotation.frames_analyzed
                start, end = ms(made, line.first.pts), ms(made, min(interval.end_pts, line.last.pts + distance))
                cues.append((start, max(start + 1, end), text.replace(JOINER, "")))
        expected += sorted(cues, key=lambda cue: cue[0])
    assert found == expected


@pytest.mark.parametrize("text", NASTY)
def test_no_text_becomes_markup_or_a_cue(text: str) -> None:
    data = Made(record(media()), (shown(text),)).file("srt").decode()
    if not one_line(text):
        assert data == ""
        return
    number, stamps, words, *rest = data.split("\n")
    assert (number, stamps, rest) == ("1", "00:00:00,000 --> 00:00:01,000", ["", ""])
    assert words.replace(JOINER, "") == one_line(text)
    assert not re.search(r"<[a-zA-Z/]|\{\\|-->", words)
    with_tags = pysubs2.SSAFile.from_string(data, format_="srt")
    assert len(with_tags) == 1
    assert with_tags[0].text.replace(JOINER, "") == one_line(text)


def shown(text: str, start: int = 0) -> Segment:
    line = TextLine(text, 1.0, BOX, At(0, start), At(0, start), 1)
    return Segment(0, Interval(0, 25, start, start + 12800), (Annotation("text", (), (line,), 1),), None, True)


def test_a_hundred_hours_are_too_many() -> None:
    late = 12800 * 3600 * 100
    with pytest.raises(InvalidRequest, match="100 hours"):
        Made(record(media()), (shown("late", late),)).file("srt")
    assert (
        "99:59:58,999 --> 99:59:59,999"
        in Made(record(media()), (shown("just", late - 12800 - 1),)).file("srt").decode()
    )
    hours = Made(record(media()), (replace(shown("late", late)),)).file("webvtt").decode()
    assert "100:00:00.000 --> 100:00:01.000" in hours


def test_the_composites_captions() -> None:
    events = srt(composite().file("srt"))
    assert [event.text for event in events][:3] == [
        "REELSIFT DEMO 2026",
        "BREAKING NEWS: RIVER FERRY",
        "CALL 555 0134 NOW",
    ]
    assert (events[0].start, events[0].end) == (0, 2000)
    assert (events[1].start, events[1].end) == (5040, 7680)


def test_nothing_that_readers_break_lines_at_survives() -> None:
    broken = "a\nb\r\nc\x0bd\x0ce\x1cf\x1eg\x85h\u2028i\u2029j"
    assert one_line(f" {broken}\t") == "a b  c d e f g h i j"
    assert len(one_line(broken).splitlines()) == 1

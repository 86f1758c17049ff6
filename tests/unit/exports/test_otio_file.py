"""OpenTimelineIO reads the timeline; its times are exact."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import opentimelineio as otio
import pytest
from hypothesis import given, settings

from orchestrator.core.results import Faces, LabelScore, Moderation, ObjectTrack, Segment, TextLine
from orchestrator.core.timeline import Interval
from orchestrator.errors import InvalidRequest
from orchestrator.exports.subject import one_line
from tests.unit.exports.made import Made, analyses, composite, media, record


def read(data: bytes) -> otio.schema.Timeline:
    """The timeline; its parts live as long as it does."""
    return otio.adapters.read_from_string(data.decode(), "otio_json")


def exact(time: otio.opentime.RationalTime, rates: set[Fraction]) -> Fraction:
    """Seconds, by the one of ``rates`` that the time's double stands for."""
    (rate,) = (rate for rate in rates if float(rate) == time.rate)
    assert time.value == int(time.value)
    return int(time.value) / rate


@settings(max_examples=25, deadline=None)
@given(made=analyses())
def test_clips_and_markers_are_where_they_were(made: Made) -> None:
    timeline = read(made.file("otio"))
    assert timeline.metadata["reelsift"]["analysis_id"] == "a-1"
    rates = {1 / made.media.time_base, made.media.average_rate}
    clips = list(timeline.tracks[0])
    assert len(clips) == len(made.segments)
    for clip, segment in zip(clips, made.segments, strict=True):
        interval, facts = segment.interval, clip.metadata["reelsift"]
        assert Interval(*(facts[f"{end}_{unit}"] for unit in ("frame", "pts") for end in ("start", "end"))) == interval
        for place in (clip.source_range, clip.range_in_parent()):
            assert exact(place.start_time, rates) == made.seconds(interval.start_pts)
            assert exact(place.end_time_exclusive(), rates) == made.seconds(interval.end_pts)
        expected = marks(made, segment)
        assert len(clip.markers) == len(expected)
        for marker, (kind, name, first, last) in zip(clip.markers, expected, strict=True):
            told = marker.metadata["reelsift"]
            assert (told["kind"], told["pts"], told["last_pts"]) == (kind, first.pts, last.pts)
            assert marker.name == one_line(name)
            assert exact(marker.marked_range.start_time, rates) == made.seconds(first.pts)
            assert exact(marker.marked_range.end_time_exclusive(), rates) == made.seconds(last.pts)


def marks(made: Made, segment: Segment) -> list[tuple]:
    found = []
    for annotation in segment.annotations:
        value = annotation.value
        for item in value if isinstance(value, tuple) else (value,):
            match item:
                case LabelScore():
                    found.append(("labels", item.label, item.best, item.best))
                case ObjectTrack():
                    found.append(("objects", item.label, item.points[0].at, item.points[-1].at))
                case TextLine():
                    found.append(("text", item.text, item.first, item.last))
                case Faces():
                    found += [("faces", "face", face.at, face.at) for face in item.faces]
                case Moderation():
                    found.append(("moderation", item.label, item.at, item.at))
    order = ["labels", "objects", "text", "faces", "moderation"]
    return sorted(found, key=lambda mark: order.index(mark[0]))


@settings(max_examples=25, deadline=None)
@given(made=analyses(steady=True))
def test_frames_are_the_unit_where_they_fit(made: Made) -> None:
    rate, unit = made.media.average_rate, made.media.time_base
    timeline = read(made.file("otio"))
    clip = timeline.tracks[0][0]
    whole = (1 / (rate * unit)).denominator == 1
    assert clip.source_range.duration.rate == float(rate if whole else 1 / unit)
    if whole:
        assert clip.source_range.duration.value == made.segments[0].interval.frames


def test_an_unknown_or_untrue_frame_rate_leaves_the_time_base() -> None:
    segments = (Segment(0, Interval(0, 2, 0, 700), (), None, True),)
    for facts in (media(rate=None), media(), media(rate=Fraction(90_000))):
        timeline = read(Made(record(facts), segments).file("otio"))
        (clip,) = timeline.tracks[0]
        assert clip.source_range.duration == otio.opentime.RationalTime(700, 12800)


def test_times_that_a_double_cannot_hold_are_refused() -> None:
    segments = (Segment(0, Interval(0, 2, 0, 2**53 + 1), (), None, True),)
    with pytest.raises(InvalidRequest, match="too large"):
        Made(record(media()), segments).file("otio")


def test_the_composite_can_be_cut() -> None:
    made = composite()
    timeline = read(made.file("otio"))
    assert timeline.duration() == otio.opentime.RationalTime(602, 25)
    clips = list(timeline.tracks[0])
    assert [int(clip.source_range.start_time.value) for clip in clips] == [
        s.interval.start_frame for s in made.segments
    ]
    assert {clip.media_reference.name for clip in clips} == {"composite.mp4"}
    assert "/media" not in made.file("otio").decode()
    assert clips[2].name == "shot 2"
    texts = [marker.name for clip in clips for marker in clip.markers if marker.color == otio.schema.MarkerColor.YELLOW]
    assert texts[0] == "REELSIFT DEMO 2026"
    unlabelled = Made(made.record, tuple(replace(segment, annotations=()) for segment in made.segments))
    timeline = read(unlabelled.file("otio"))
    assert [clip.name for clip in timeline.tracks[0]][:2] == ["segment 0", "segment 1"]

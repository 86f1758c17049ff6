"""The CMX 3600 adapter of OpenTimelineIO reads the list; what timecode cannot tell is refused."""

from __future__ import annotations

import itertools
from fractions import Fraction

import opentimelineio as otio
import pytest
from hypothesis import assume, given, settings

from orchestrator.core.results import Annotation, Segment, Shot
from orchestrator.core.timeline import Interval
from orchestrator.errors import InvalidRequest
from tests.unit.exports.made import Made, analyses, composite, media, record


def read(data: bytes, rate: Fraction) -> list[otio.schema.Clip]:
    timeline = otio.adapters.read_from_string(data.decode(), "cmx_3600", rate=float(rate))
    return list(timeline.find_clips())


def frames(clip: otio.schema.Clip) -> tuple[int, int]:
    place = clip.source_range
    return int(place.start_time.value), int(place.end_time_exclusive().value)


def shots(*lengths: int, step: int = 512, split: bool = False) -> tuple[Segment, ...]:
    """Segments of so many frames; with ``split``, every second one goes on with the shot before."""
    ends = list(itertools.accumulate(lengths, initial=0))
    return tuple(
        Segment(
            index,
            Interval(a, b, a * step, b * step),
            (Annotation("shots", (), Shot(index // 2 if split else index, not (split and index % 2), 0.9), 1),),
            None,
            b == ends[-1],
        )
        for index, (a, b) in enumerate(itertools.pairwise(ends))
    )


@settings(max_examples=25, deadline=None)
@given(made=analyses(steady=True))
def test_events_are_the_shots(made: Made) -> None:
    rate = made.media.average_rate
    assume(rate is not None)
    clips = read(made.file("edl"), rate)
    expected = [(s.interval.start_frame, s.interval.end_frame) for s in made.segments]
    assert [frames(clip) for clip in clips] == expected
    assert {clip.name for clip in clips} == {made.record.id}


def test_a_split_shot_is_one_event() -> None:
    data = Made(record(media()), shots(25, 30, 5, 7, 2, split=True)).file("edl")
    assert [frames(clip) for clip in read(data, Fraction(25))] == [(0, 55), (55, 67), (67, 69)]


def test_without_shots_every_segment_is_an_event() -> None:
    segments = tuple(Segment(s.index, s.interval, (), None, s.final) for s in shots(25, 30))
    data = Made(record(media()), segments).file("edl")
    assert [frames(clip) for clip in read(data, Fraction(25))] == [(0, 25), (25, 55)]


def test_the_composite_to_the_letter() -> None:
    made = composite()
    lines = made.file("edl").decode().split("\r\n")
    assert lines[:9] == [
        "TITLE: a-1",
        "FCM: NON-DROP FRAME",
        "",
        "001  AX       V     C        00:00:00:00 00:00:02:00 00:00:00:00 00:00:02:00",
        "* FROM CLIP NAME: composite.mp4",
        "",
        "002  AX       V     C        00:00:02:00 00:00:03:05 00:00:02:00 00:00:03:05",
        "* FROM CLIP NAME: composite.mp4",
        "",
    ]
    assert [frames(clip) for clip in read(made.file("edl"), Fraction(25))] == [
        (s.interval.start_frame, s.interval.end_frame) for s in made.segments
    ]


def test_more_events_than_three_digits_count() -> None:
    data = Made(record(media()), shots(*[2] * 1200)).file("edl")
    assert len(read(data, Fraction(25))) == 1200
    assert b"\r\n1200  AX " in data


@pytest.mark.parametrize(
    "rate", [Fraction(24000, 1001), Fraction(24), Fraction(30000, 1001), Fraction(50), Fraction(60)]
)
def test_timecode_counts_frames_without_dropping(rate: Fraction) -> None:
    unit = 1 / (rate * 512)
    data = Made(record(media(unit, rate)), shots(1800, round(rate) * 60, 1)).file("edl")
    last = read(data, rate)[-1]
    start = 1800 + round(rate) * 60
    assert (
        f"00:{start // round(rate) // 60:02}:{start // round(rate) % 60:02}:{start % round(rate):02}" in data.decode()
    )
    assert frames(last)[0] == start


def test_a_declared_rate_may_be_a_little_off() -> None:
    facts = media(Fraction(1, 1000), Fraction(2997, 100))
    pts = [int(frame * 1001 / Fraction(30)) for frame in range(0, 900, 90)]
    segments = tuple(
        Segment(index, Interval(index * 90, index * 90 + 90, a, b), (), None, False)
        for index, (a, b) in enumerate(itertools.pairwise(pts))
    )
    clips = read(Made(record(facts), segments).file("edl"), Fraction(30000, 1001))
    assert [frames(clip) for clip in clips] == [(index * 90, index * 90 + 90) for index in range(9)]


def test_the_end_of_the_media_is_rounded() -> None:
    *first, last = shots(25, 25)
    for end, expected in ((last.interval.end_pts + 100, 50), (last.interval.start_pts + 1, 26)):
        shortened = Segment(1, Interval(25, 50, last.interval.start_pts, end), (), None, True)
        data = Made(record(media()), (*first, shortened)).file("edl")
        assert frames(read(data, Fraction(25))[-1]) == (25, expected)


DAY = 24 * 3600 * 25


@pytest.mark.parametrize(
    ("facts", "segments", "why"),
    [
        (media(rate=None), shots(25), "not known"),
        (media(rate=Fraction(15)), shots(25), "no timecode for 15 frames"),
        (media(rate=Fraction(120)), shots(25), "no timecode for 120 frames"),
        (media(), shots(25, 25, step=700), "between two frames"),
        (media(Fraction(1, 1000), Fraction(60)), shots(1, 1, 1, step=1), "shorter than a frame"),
        (media(), shots(25, DAY), "24 hours"),
    ],
)
def test_what_timecode_cannot_tell_is_refused(facts, segments, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        Made(record(facts), segments).file("edl")

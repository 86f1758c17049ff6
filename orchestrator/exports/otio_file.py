"""OpenTimelineIO: a timeline of the media cut at its segments, with a marker for everything that was found.

Times count from the media's first frame: in frames at its average rate where every time of the file is a whole number of
them, else in units of its time base; they are exact either way. Built whole, as the library does: the memory is five
times the file, some 30 KB per segment with half a dozen findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from opentimelineio.opentime import RationalTime, TimeRange
from opentimelineio.schema import Clip, Marker, MarkerColor, MissingReference, Timeline, Track, TrackKind

from orchestrator.core.results import At, Segment
from orchestrator.errors import InvalidRequest
from orchestrator.exports.subject import Subject, items, one_line, shot_of, values

EXACT = 2**53  # a RationalTime is a double
COLOURS = {
    "labels": MarkerColor.GREEN,
    "objects": MarkerColor.CYAN,
    "text": MarkerColor.YELLOW,
    "faces": MarkerColor.PURPLE,
    "moderation": MarkerColor.RED,
}


@dataclass(frozen=True, slots=True)
class _Mark:
    """Something found, from its first to its last sampled frame (the same for what was seen once). Times are pts."""

    kind: str
    name: str
    first: At
    last: At
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Cut:
    """A segment without its pixels and vectors."""

    segment_index: int
    start_pts: int
    end_pts: int
    name: str
    facts: dict[str, Any]
    marks: list[_Mark] = field(default_factory=list)


def write(subject: Subject, segments: Iterable[Segment]) -> Iterator[bytes]:
    """One JSON document. Raises ``InvalidRequest`` for times beyond 2**53 units."""
    cuts = [_cut(segment) for segment in segments]
    ruler = _Ruler(subject, cuts)
    track = Track("segments", kind=TrackKind.Video)
    timeline = Timeline(subject.record.id, metadata={"reelsift": _facts(subject)})
    timeline.tracks.append(track)
    whole = ruler.stretch(subject.media.start_pts, cuts[-1].end_pts) if cuts else None
    for cut in cuts:
        reference = MissingReference(name=subject.name, available_range=whole)
        stretch = ruler.stretch(cut.start_pts, cut.end_pts)
        clip = Clip(cut.name, reference, stretch, metadata={"reelsift": cut.facts})
        clip.markers.extend(_marker(mark, ruler) for mark in cut.marks)
        track.append(clip)
    yield timeline.to_json_string(indent=1).encode() + b"\n"


class _Ruler:
    """Turns pts into times, all at one rate."""

    def __init__(self, subject: Subject, cuts: list[_Cut]) -> None:
        self._start = subject.media.start_pts
        unit = subject.media.time_base
        used = {pts for cut in cuts for pts in (cut.start_pts, cut.end_pts)}
        used |= {at.pts for cut in cuts for mark in cut.marks for at in (mark.first, mark.last)}
        if any(abs(pts - self._start) > EXACT for pts in used):
            raise InvalidRequest("the media's times are too large for OpenTimelineIO; export jsonl or parquet")
        rate = subject.media.average_rate
        ticks = 1 / (rate * unit) if rate else Fraction(0)  # of one frame
        whole = ticks >= 1 and ticks.denominator == 1 and not any((pts - self._start) % ticks for pts in used)
        self._ticks = int(ticks) if whole else 1
        self._rate = float(1 / (unit * self._ticks))

    def time(self, pts: int) -> RationalTime:
        """``pts`` after the first frame."""
        return RationalTime((pts - self._start) // self._ticks, self._rate)

    def stretch(self, start_pts: int, end_pts: int) -> TimeRange:
        """``[start_pts, end_pts)``."""
        return TimeRange(self.time(start_pts), RationalTime((end_pts - start_pts) // self._ticks, self._rate))


def _facts(subject: Subject) -> dict[str, Any]:
    media, rate = subject.media, subject.media.average_rate
    return {
        "analysis_id": subject.record.id,
        "width": media.width,
        "height": media.height,
        "time_base": f"{media.time_base.numerator}/{media.time_base.denominator}",
        "start_pts": media.start_pts,
        "average_frame_rate": f"{rate.numerator}/{rate.denominator}" if rate else "",
    }


def _cut(segment: Segment) -> _Cut:
    interval, shot = segment.interval, shot_of(segment)
    facts: dict[str, Any] = {
        "segment_index": segment.index,
        "start_frame": interval.start_frame,
        "end_frame": interval.end_frame,
        "start_pts": interval.start_pts,
        "end_pts": interval.end_pts,
    }
    if shot is not None:
        facts |= {"shot_index": shot.shot_index, "starts_shot": shot.starts_shot, "cut_score": shot.score}
    name = f"segment {segment.index}" if shot is None else f"shot {shot.shot_index}"
    return _Cut(segment.index, interval.start_pts, interval.end_pts, name, facts, list(_marks(segment)))


def _marks(segment: Segment) -> Iterator[_Mark]:
    for label in items(segment, "labels"):
        yield _Mark("labels", label.label, label.best, label.best, {"score": label.score})
    for track in items(segment, "objects"):
        if track.points:
            first, last = track.points[0].at, track.points[-1].at
            yield _Mark("objects", track.label, first, last, {"score": track.score, "track_id": track.track_id})
    for line in items(segment, "text"):
        yield _Mark("text", line.text, line.first, line.last, {"score": line.score})
    for value in values(segment, "faces"):
        for face in value.faces:
            yield _Mark("faces", "face", face.at, face.at, {"score": face.score})
    for value in values(segment, "moderation"):
        yield _Mark("moderation", value.label, value.at, value.at, {"score": value.max_score})


def _marker(mark: _Mark, ruler: _Ruler) -> Marker:
    places = {
        "frame": mark.first.frame,
        "pts": mark.first.pts,
        "last_frame": mark.last.frame,
        "last_pts": mark.last.pts,
    }
    facts = {"kind": mark.kind, **mark.facts, **places}
    stretch = ruler.stretch(mark.first.pts, mark.last.pts)
    return Marker(one_line(mark.name), stretch, COLOURS[mark.kind], metadata={"reelsift": facts})

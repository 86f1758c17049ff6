"""The timeline of an analysis' page: one lane per kind of finding, drawn to scale."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.api import messages as pb
from orchestrator.cli import describe

MAX_CLASSES = 6
_HUES = (150, 278, 332, 190, 108, 222, 20, 305, 168, 250)  # text has amber, moderation red


@dataclass(frozen=True, slots=True)
class Span:
    """A bar of a lane: place and width in percent of the timeline, strength 0..1, a tooltip, and where it leads."""

    left: float
    width: float
    colour: str
    tip: str
    strength: float = 1.0
    target: int | None = None


@dataclass
class Lane:
    """A row of the timeline."""

    name: str
    spans: list[Span] = field(default_factory=list)


def percent(ns: int, end_ns: int) -> float:
    """``ns`` as percent of ``end_ns``."""
    return 100 * ns / end_ns if end_ns else 0.0


def shade(label: str) -> str:
    """A colour that a class keeps from page to page."""
    return f"hsl({_HUES[hashlib.sha256(label.encode()).digest()[0] % len(_HUES)]} 72% 56%)"


def lanes(segments: Sequence[pb.Segment], end_ns: int) -> list[Lane]:
    """Segments first, then the most frequent object classes, text, faces and moderation; empty lanes are left out."""
    if not end_ns:
        return []
    found = [_segments(segments, end_ns), *_objects(segments, end_ns), *_others(segments, end_ns)]
    return [lane for lane in found if lane.spans]


def _span(start: int, end: int, end_ns: int, colour: str, tip: str, strength: float = 1.0) -> Span:
    return Span(percent(start, end_ns), percent(max(end - start, 0), end_ns), colour, tip, strength)


def _segments(segments: Sequence[pb.Segment], end_ns: int) -> Lane:
    lane = Lane("segments")
    colours = ("var(--bar-a)", "var(--bar-b)")
    for segment in segments:
        shot = next((a.shot.shot_index for a in segment.annotations if a.HasField("shot")), segment.index)
        start, end = segment.interval.start_ns, segment.interval.end_ns
        tip = f"#{segment.index}  {describe.clock(start)} - {describe.clock(end)}"
        left, width = percent(start, end_ns), percent(end - start, end_ns)
        lane.spans.append(Span(left, width, colours[shot % 2], tip, target=segment.index))
    return lane


def _objects(segments: Sequence[pb.Segment], end_ns: int) -> list[Lane]:
    by_label: dict[str, Lane] = {}
    for segment in segments:
        for annotation in segment.annotations:
            for track in annotation.objects.tracks:
                if not track.points:
                    continue
                first, last = track.points[0].position.offset_ns, track.points[-1].position.offset_ns
                tip = f"{track.label} {track.track_id}  {describe.clock(first)} - {describe.clock(last)}"
                span = _span(first, last, end_ns, shade(track.label), tip, 0.55)
                by_label.setdefault(track.label, Lane(track.label)).spans.append(span)
    return sorted(by_label.values(), key=lambda lane: (-len(lane.spans), lane.name))[:MAX_CLASSES]


def _others(segments: Sequence[pb.Segment], end_ns: int) -> list[Lane]:
    text, faces, moderation = Lane("text"), Lane("faces"), Lane("moderation")
    for segment in segments:
        start, end = segment.interval.start_ns, segment.interval.end_ns
        for annotation in segment.annotations:
            for line in annotation.text.lines:
                first, last = line.first_position.offset_ns, line.last_position.offset_ns
                text.spans.append(_span(first, last, end_ns, "#f5b301", line.text))
            for face in annotation.faces.faces:
                at = face.position.offset_ns
                faces.spans.append(_span(at, at, end_ns, "var(--ink)", f"face  {describe.clock(at)}"))
            if annotation.HasField("moderation"):
                value = annotation.moderation
                tip = f"{value.label} at most {value.max_score:.2f}"
                moderation.spans.append(_span(start, end, end_ns, "#e5484d", tip, value.max_score))
    return [text, faces, moderation]

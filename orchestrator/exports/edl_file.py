"""CMX 3600 edit decision list: one event per shot (per segment where no shots were looked for).

Timecode counts frames from 00:00:00:00 at the media's first frame, non-drop. It can only be told of a media whose every
boundary lies on the grid of a timecode rate, within a millisecond (the end of the media is rounded); another one
(variable or unknown frame rate) raises ``InvalidRequest``, and so does one of 24 hours or more. Built whole, so that it
is refused before the first byte: some 200 bytes per shot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from orchestrator.core.results import Segment
from orchestrator.errors import InvalidRequest
from orchestrator.exports.subject import Subject, one_line, shot_of

RATES = (
    *map(Fraction, (24, 25, 30, 48, 50, 60)),
    *(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60)),
)  # SMPTE ST 12-1
NEAR = Fraction(6, 10_000)  # a declared rate is off by no more; neighbours (30 and 29.97) are 10 apart
GRID_SECONDS = Fraction(1, 1000)  # containers that count milliseconds round to them
ADVICE = "export otio or csv, which hold exact times"


def write(subject: Subject, segments: Iterable[Segment]) -> Iterator[bytes]:
    """The list; events above 999 have four digits."""
    grid = _Grid(subject)
    name = subject.name
    lines = [f"TITLE: {one_line(subject.record.id)}", "FCM: NON-DROP FRAME", ""]
    for number, (start_pts, end_pts, final) in enumerate(_shots(segments), 1):
        start = grid.frame(start_pts)
        end = max(start + 1, grid.nearest(end_pts)) if final else grid.frame(end_pts)
        if start >= end:
            raise InvalidRequest(f"a shot is shorter than a frame of timecode; {ADVICE}")
        stretch = f"{grid.timecode(start)} {grid.timecode(end)}"
        lines += [f"{number:03}  AX       V     C        {stretch} {stretch}", f"* FROM CLIP NAME: {name}", ""]
    yield "\r\n".join(lines).encode()


def _shots(segments: Iterable[Segment]) -> Iterator[tuple[int, int, bool]]:
    """Start and end of each shot in pts, and whether it is the last one."""
    start: int | None = None
    end = 0
    for segment in segments:
        shot = shot_of(segment)
        if start is not None and (shot is None or shot.starts_shot):
            yield start, end, False
            start = None
        start = segment.interval.start_pts if start is None else start
        end = segment.interval.end_pts
    if start is not None:
        yield start, end, True


class _Grid:
    """The frames of a timecode rate, laid over a media. Every method raises ``InvalidRequest`` for what does not fit."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        declared = subject.media.average_rate
        if declared is None:
            raise InvalidRequest(f"the media's frame rate is not known, so it has no timecode; {ADVICE}")
        self._rate = min(RATES, key=lambda each: abs(each - declared))
        if abs(self._rate - declared) > self._rate * NEAR:
            raise InvalidRequest(f"there is no timecode for {float(declared):.6g} frames per second; {ADVICE}")
        self._allowed = min(max(GRID_SECONDS, subject.media.time_base) * self._rate, Fraction(1, 4))

    def frame(self, pts: int) -> int:
        """The frame of the grid at ``pts``."""
        nearest = self.nearest(pts)
        if abs(self._subject.seconds(pts) * self._rate - nearest) > self._allowed:
            rate = f"{float(self._rate):.6g} per second"
            raise InvalidRequest(f"pts {pts} lies between two frames of {rate} (a variable frame rate?); {ADVICE}")
        return nearest

    def nearest(self, pts: int) -> int:
        """The frame of the grid next to ``pts``."""
        return round(self._subject.seconds(pts) * self._rate)

    def timecode(self, frame: int) -> str:
        """``frame`` as HH:MM:SS:FF."""
        seconds, frames = divmod(frame, round(self._rate))
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        if hours >= 24:
            raise InvalidRequest(f"timecode ends at 24 hours; {ADVICE}")
        return f"{hours:02}:{minutes:02}:{seconds:02}:{frames:02}"

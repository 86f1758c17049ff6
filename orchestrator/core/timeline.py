"""Exact media time.

Media time is ``pts`` (integer) in units of ``time_base`` (a :class:`~fractions.Fraction` of a second). Nanoseconds
are derived,
rounded down. Intervals are half-open ``[start, end)``. Frame indices count displayed frames in pts order from 0.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction


def pts_to_ns(pts: int, time_base: Fraction) -> int:
    """``pts`` in ``time_base`` seconds as whole nanoseconds, rounded down."""
    return pts * time_base.numerator * 1_000_000_000 // time_base.denominator


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Frames ``[start_frame, end_frame)`` shown during ``[start_pts, end_pts)``."""

    start_frame: int
    end_frame: int
    start_pts: int
    end_pts: int

    def __post_init__(self) -> None:
        if not 0 <= self.start_frame < self.end_frame:
            raise ValueError(f"an interval holds at least one frame, got frames [{self.start_frame}, {self.end_frame})")
        if self.start_pts >= self.end_pts:
            raise ValueError(f"an interval must not be empty, got pts [{self.start_pts}, {self.end_pts})")

    @property
    def frames(self) -> int:
        """Number of frames inside."""
        return self.end_frame - self.start_frame


class FrameTable:
    """The pts of every frame known so far, in display order; grows as the demuxer reads on.

    ``end_pts`` is the exclusive end of the last frame once the source has been read to its end, else ``None``.
    """

    def __init__(self) -> None:
        self._pts = array("q")
        self.end_pts: int | None = None

    def __len__(self) -> int:
        return len(self._pts)

    def extend(self, pts: Iterable[int]) -> None:
        """Append frames; pts must go on rising strictly."""
        for value in pts:
            if self._pts and value <= self._pts[-1]:
                raise ValueError(f"pts must rise: {value} after {self._pts[-1]}")
            self._pts.append(value)

    def finish(self, end_pts: int) -> None:
        """Declare the source complete; ``end_pts`` lies after the last frame."""
        if self._pts and end_pts <= self._pts[-1]:
            raise ValueError(f"the end {end_pts} must lie after the last frame {self._pts[-1]}")
        self.end_pts = end_pts

    @property
    def finished(self) -> bool:
        """Whether no further frame can come."""
        return self.end_pts is not None

    @property
    def pts(self) -> Sequence[int]:
        """All pts, by frame index."""
        return self._pts

    def first_at_or_after(self, pts: int, start: int = 0) -> int:
        """Index of the first frame shown at or after ``pts`` (``len(self)`` when none is known)."""
        return bisect_left(self._pts, pts, lo=start)

    def interval(self, start_frame: int, end_frame: int) -> Interval:
        """The interval of frames ``[start_frame, end_frame)``; its end is the next frame's pts, or the media's end."""
        if end_frame < len(self._pts):
            end_pts = self._pts[end_frame]
        elif self.end_pts is not None:
            end_pts = self.end_pts
        else:
            raise ValueError(f"the end of frame {end_frame - 1} is not known yet")
        return Interval(start_frame, end_frame, self._pts[start_frame], end_pts)

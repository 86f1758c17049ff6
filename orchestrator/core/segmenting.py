"""Where segments begin and end: pure, incremental, independent of timing.

Segments lie on shot boundaries and are at most ``max_segment_ns`` long, counted from the start of their shot or of
the split before. The same frames and
boundaries give the same segments, in whatever portions they arrive.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

from orchestrator.core.timeline import FrameTable, Interval


@dataclass(frozen=True, slots=True)
class Boundary:
    """A cut: ``frame`` is the first frame of the new shot; ``score`` 0..1."""

    frame: int
    score: float


@dataclass(frozen=True, slots=True)
class PlannedSegment:
    """A segment whose extent is final."""

    index: int
    interval: Interval
    shot_index: int
    starts_shot: bool
    boundary_score: float
    final: bool


class Segmenter:
    """Plans segments over a growing frame table."""

    def __init__(self, table: FrameTable, time_base: Fraction, max_segment_ns: int) -> None:
        if max_segment_ns <= 0:
            raise ValueError(f"max_segment_ns must be positive, got {max_segment_ns}")
        self._table = table
        # Rounded down, so that no segment exceeds the limit; a coarse clock still gets segments of one unit.
        self._max_pts = max(1, max_segment_ns * time_base.denominator // (1_000_000_000 * time_base.numerator))
        self._boundaries: deque[Boundary] = deque()
        self._settled = 0
        self._start = 0
        self._index = 0
        self._shot_index = 0
        self._score = 1.0
        self._starts_shot = True

    def add(self, boundaries: list[Boundary], settled: int) -> None:
        """Learn of cuts, in order; no further cut will come at a frame below ``settled``."""
        for boundary in boundaries:
            if boundary.frame < self._settled:
                raise ValueError(
                    f"a boundary at frame {boundary.frame} came after frames < {self._settled} were settled"
                )
            self._boundaries.append(boundary)
        self._settled = max(self._settled, settled)

    def advance(self) -> list[PlannedSegment]:
        """Every segment that has become final since the last call."""
        planned = []
        while (segment := self._next()) is not None:
            planned.append(segment)
        return planned

    def _next(self) -> PlannedSegment | None:
        table, start = self._table, self._start
        count = len(table)
        if start >= count:
            return None
        while self._boundaries and self._boundaries[0].frame <= start:
            self._boundaries.popleft()
        limit = table.first_at_or_after(table.pts[start] + self._max_pts, start)
        cut = self._boundaries[0] if self._boundaries else None
        if cut is not None and cut.frame <= limit and cut.frame < count:
            return self._close(cut.frame, cut)
        if limit < count and self._settled > limit:
            return self._close(limit, None)
        if table.finished and self._settled >= count and limit >= count:
            return self._close(count, None)
        return None

    def _close(self, end: int, cut: Boundary | None) -> PlannedSegment:
        segment = PlannedSegment(
            index=self._index,
            interval=self._table.interval(self._start, end),
            shot_index=self._shot_index,
            starts_shot=self._starts_shot,
            boundary_score=self._score,
            final=self._table.finished and end == len(self._table),
        )
        self._start, self._index = end, self._index + 1
        self._starts_shot, self._score = cut is not None, cut.score if cut else 0.0
        self._shot_index += cut is not None
        return segment

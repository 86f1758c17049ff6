"""Where segments begin and end: pure, incremental, independent of timing.

Segments lie on shot boundaries and are at most ``max_segment_ns`` long, counted from the start of their shot or of
the split before. The same frames and
boundaries give the same segments, in whatever portions they arrive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

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
        self._done = False

    @property
    def start(self) -> int:
        """First frame of the next segment."""
        return self._start

    @property
    def done(self) -> bool:
        """Whether the final segment has been planned."""
        return self._done

    def state(self) -> Mapping[str, object]:
        """Everything that decides the segments still to come, as JSON values (besides the frame table)."""
        return {
            "start": self._start,
            "index": self._index,
            "shot_index": self._shot_index,
            "starts_shot": self._starts_shot,
            "score": self._score,
            "settled": self._settled,
            "boundaries": [[boundary.frame, boundary.score] for boundary in self._boundaries],
            "done": self._done,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state()`` was taken. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what it never gave."""
        self._start, self._index = int(state["start"]), int(state["index"])
        self._shot_index, self._starts_shot = int(state["shot_index"]), bool(state["starts_shot"])
        self._score, self._settled, self._done = float(state["score"]), int(state["settled"]), bool(state["done"])
        self._boundaries = deque(Boundary(int(frame), float(score)) for frame, score in state["boundaries"])

    def add(self, boundaries: Sequence[Boundary], settled: int) -> None:
        """Learn of cuts, in order; no further cut will come at a frame below ``settled``."""
        for boundary in boundaries:
            if boundary.frame < self._settled:
                raise ValueError(
                    f"a boundary at frame {boundary.frame} came after frames < {self._settled} were settled"
                )
            self._boundaries.append(boundary)
        self._settled = max(self._settled, settled)

    def next(self) -> PlannedSegment | None:
        """The next segment, once its extent is final. Its frames lie behind the state from then on."""
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
        self._done = segment.final
        return segment

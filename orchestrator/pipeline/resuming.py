"""What one attempt leaves to the next: a checkpoint behind each segment, and what it means to who goes on.

The state of a checkpoint has the parts ``analysis`` (time spent, and on what; analyzers that gave up, keys that held), ``segmenter``
and ``shots``. Where the segments are those of an earlier analysis, the latter two are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.jobs import Checkpoint
from orchestrator.core.media import LedgerMark
from orchestrator.core.segmenting import PlannedSegment

SHOTS = "shots"


def checkpoint(
    plan: PlannedSegment, state: Mapping[str, object], mark: LedgerMark, memo: Mapping[str, object]
) -> Checkpoint:
    """The checkpoint behind segment ``plan``."""
    return Checkpoint(
        segments=plan.index + 1,
        next_frame=plan.interval.end_frame,
        state=state,
        ledger=mark,
        memo=memo,
        forget=plan.starts_shot or not memo,
    )


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where an attempt begins: ``done`` segments are told already, and frame ``begin`` is the first that is looked at."""

    done: int = 0
    begin: int = 0
    mark: LedgerMark = field(default_factory=LedgerMark)
    state: Mapping[str, Any] = field(default_factory=dict)
    memory: Sequence[Mapping[str, object]] = ()

    @classmethod
    def of(cls, resume: tuple[Checkpoint, Sequence[Mapping[str, object]]] | None, *, segmented: bool) -> Resumed:
        """What ``resume`` means; ``segmented``: this attempt finds its segments itself. A checkpoint that does not say how to go on
        with that lets it begin at frame 0, and tell only what is new."""
        if resume is None:
            return cls()
        point, memos = resume
        if segmented and "segmenter" not in point.state:
            return cls(done=point.segments, state={"analysis": point.state["analysis"]})
        return cls(point.segments, point.next_frame, point.ledger, point.state, memos)

    @property
    def elapsed_ns(self) -> int:
        """Time that earlier attempts have spent."""
        return int(self._analysis.get("elapsed_ns", 0))

    @property
    def spent(self) -> Mapping[str, Any]:
        """On what, as ``Stages`` have left it."""
        return dict(self._analysis.get("spent", {}))

    @property
    def failed(self) -> Mapping[str, str]:
        """Analyzers that have given up, and why."""
        return dict(self._analysis.get("failed", {}))

    @property
    def keys(self) -> Mapping[str, str] | None:
        """Keys that have held so far, by analyzer; ``None``: nothing is known of earlier ones."""
        keys = self._analysis.get("keys")
        return None if keys is None else dict(keys)

    @property
    def shots_begin(self) -> int:
        """The first frame that the shots need."""
        return int(self.state[SHOTS]["first"])

    def memos(self, analyzer: str) -> list[object]:
        """What ``analyzer`` said of the segments that count, in order."""
        return [memo[analyzer] for memo in self.memory if analyzer in memo]

    @property
    def _analysis(self) -> Mapping[str, Any]:
        analysis: Mapping[str, Any] = self.state.get("analysis", {})
        return analysis

"""Results kept in memory: for one process, until it ends.

Readers never hold the writer: each walks the log at its own pace and waits only for what is not there yet. Two bounds
keep the memory small. Of the ``Progress`` events only the newest of each analysis stays (sequence numbers go on rising,
with gaps then). Of the finished analyses only the newest ``keep_finished`` stay; who is reading one that is dropped
reads on to its end.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from orchestrator.core.results import FINAL_EVENTS, AnalysisEvent, Progress
from orchestrator.errors import InternalError, NotFound

KEEP_FINISHED = 256


@dataclass(slots=True)
class _Log:
    """One analysis: events and their sequence numbers, side by side, rising."""

    sequences: list[int] = field(default_factory=list)
    events: list[AnalysisEvent] = field(default_factory=list)
    last_sequence: int = 0
    progress_sequence: int | None = None
    grew: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def finished(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], FINAL_EVENTS)

    def append(self, event: AnalysisEvent) -> int:
        self.last_sequence += 1
        if isinstance(event, Progress):
            self._drop_progress()
            self.progress_sequence = self.last_sequence
        self.sequences.append(self.last_sequence)
        self.events.append(event)
        # One event per growth: whoever waits wakes, whoever comes later waits for the next. Without an await no
        # cancellation can fall between the entry and the news of it.
        self.grew.set()
        self.grew = asyncio.Event()
        return self.last_sequence

    def _drop_progress(self) -> None:
        if self.progress_sequence is not None:
            at = bisect_right(self.sequences, self.progress_sequence) - 1
            del self.sequences[at], self.events[at]

    def next_after(self, sequence: int) -> tuple[int, AnalysisEvent] | None:
        at = bisect_right(self.sequences, sequence)
        return (self.sequences[at], self.events[at]) if at < len(self.sequences) else None


class MemoryResultStore:
    """A :class:`~orchestrator.ports.ResultStore` in memory, for one event loop."""

    def __init__(self, keep_finished: int = KEEP_FINISHED) -> None:
        if keep_finished < 1:
            raise ValueError(f"at least one finished analysis must be kept, got {keep_finished}")
        self._keep_finished = keep_finished
        self._logs: dict[str, _Log] = {}
        self._finished: deque[str] = deque()

    async def create(self, analysis_id: str) -> None:
        """Open the log of a new analysis. Raises ``InternalError`` when it exists already."""
        if analysis_id in self._logs:
            raise InternalError("an analysis with this id exists already", analysis_id=analysis_id)
        self._logs[analysis_id] = _Log()

    async def append(self, analysis_id: str, event: AnalysisEvent) -> int:
        """Append; returns the event's sequence number. Raises ``NotFound``, ``InternalError`` after a final event."""
        log = self._log(analysis_id)
        if log.finished:
            raise InternalError("the analysis has ended already", analysis_id=analysis_id)
        sequence = log.append(event)
        if isinstance(event, FINAL_EVENTS):
            self._retire(analysis_id)
        return sequence

    async def exists(self, analysis_id: str) -> bool:
        """Whether the log was opened and is still kept."""
        return analysis_id in self._logs

    async def read(self, analysis_id: str, after: int = 0) -> AsyncIterator[tuple[int, AnalysisEvent]]:
        """Events with a sequence number above ``after``, then those still to come, until the final one.

        Raises ``NotFound`` when the first event is asked for.
        """
        log = self._log(analysis_id)
        while True:
            entry = log.next_after(after)
            if entry is not None:
                after = entry[0]
                yield entry
            elif log.finished:
                return
            else:
                await log.grew.wait()

    def _log(self, analysis_id: str) -> _Log:
        try:
            return self._logs[analysis_id]
        except KeyError:
            raise NotFound("no such analysis", analysis_id=analysis_id) from None

    def _retire(self, analysis_id: str) -> None:
        self._finished.append(analysis_id)
        while len(self._finished) > self._keep_finished:
            del self._logs[self._finished.popleft()]

"""Lanes: an analyzer at work on its batches.

A lane takes batches in order, lets a few be analyzed at once, and keeps observations in frame order until their
segment closes. ``through`` says how far it has answered. A lane whose analyzer raises gives up: it answers no more, and
nobody waits for it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from orchestrator.analyzers.base import Analyzer, Observation, Resumable
from orchestrator.analyzers.batch import PictureBatch
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import At, Thumbnail, Value
from orchestrator.core.segmenting import PlannedSegment
from orchestrator.errors import InternalError, ReelsiftError, Unavailable
from orchestrator.pipeline.stages import Stages

IN_FLIGHT = 2  # batches of one lane with its models: one runs, one waits (FACTS: more gain nothing)
END = 1 << 62  # a frame behind every media

log = structlog.get_logger(__name__)


class Lane:
    """One analyzer of one analysis. Frames below ``begin`` belong to segments closed before."""

    def __init__(
        self, analyzer: Analyzer[Any], advanced: Callable[[], None], begin: int = 0, stages: Stages | None = None
    ) -> None:
        self.analyzer = analyzer
        self._stages, self._stage = stages or Stages(), f"infer/{analyzer.name}"
        self.through = begin
        self.failure: str | None = None  # stable reason why it gave up; what was answered before still counts
        self.missing = False  # whether a segment was closed without it
        self._begin = begin
        self._advanced = advanced
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._queue: deque[tuple[PictureBatch | None, int, asyncio.Task[Sequence[Any]] | None]] = deque()
        self._frames: list[int] = []  # of _seen, for bisection
        self._seen: list[Observation[Any]] = []
        self._fresh: dict[int, Any] = {}  # the answers that later near-duplicates may share

    def open(self, media: MediaInfo) -> None:
        """Before all others."""
        try:
            self.analyzer.open(media)
        except Exception as error:
            self.missing = True
            self._give_up(error)

    async def recall(self, memos: Sequence[object]) -> None:
        """Go on behind the segments of ``memos``."""
        analyzer = self.analyzer
        if isinstance(analyzer, Resumable) and memos and self.failure is None:
            try:
                await asyncio.to_thread(analyzer.recall, memos)
            except Exception as error:
                self.missing = True
                self._give_up(error)

    def covers(self, end_frame: int) -> bool:
        """Whether nothing has to be waited for below ``end_frame``."""
        return self.failure is not None or self.through >= end_frame

    async def put(self, batch: PictureBatch) -> asyncio.Task[Sequence[Any]] | None:
        """Start on a batch; waits while ``IN_FLIGHT`` are being analyzed. Returns the task that holds its pixels."""
        task: asyncio.Task[Sequence[Any]] | None = None
        if batch.rows and self.failure is None:
            await self._room.acquire()
            task = asyncio.ensure_future(self._analyze(batch))
        self._add(batch, batch.batch.through, task)
        return task

    def advance(self, through: int) -> None:
        """No frame below ``through`` is still to come."""
        self._add(None, through, None)

    def _add(self, batch: PictureBatch | None, through: int, task: asyncio.Task[Sequence[Any]] | None) -> None:
        self._queue.append((batch, through, task))
        if self.failure is not None:
            self.cancel()
        self._collect()

    async def _analyze(self, batch: PictureBatch) -> Sequence[Any]:
        try:
            with self._stages.during(self._stage):
                values = await self.analyzer.analyze(batch)
            if len(values) != len(batch.rows):
                raise ValueError(f"{len(values)} answers for {len(batch.rows)} pictures")
            return values
        finally:
            self._room.release()
            # The task is done only after this returns.
            asyncio.get_running_loop().call_soon(self._collect)

    def _collect(self) -> None:
        """Take finished batches, in order."""
        before = self.through
        while self._queue and self.failure is None:
            batch, through, task = self._queue[0]
            if task is not None:
                if not task.done() or task.cancelled():
                    break
                error = task.exception()
                if error is not None:
                    if ends_the_attempt(error):
                        break  # it is raised by whoever awaits the task
                    self._give_up(error)
                    break
            self._queue.popleft()
            if batch is not None:
                self._observe(batch, task.result() if task is not None else ())
            self.through = max(self.through, through)
        if self.through != before:
            self._advanced()

    def _observe(self, batch: PictureBatch, values: Sequence[Any]) -> None:
        fresh = {row.index: value for row, value in zip(batch.rows, values, strict=True)}
        self._fresh |= fresh
        newest = None
        for row in batch.batch.rows:
            source = row.index if row.same_as is None else row.same_as
            if row.index >= self._begin:
                self._frames.append(row.index)
                self._seen.append(Observation(At(row.index, row.pts), self._fresh[source], row.same_as is not None))
            newest = source
        if newest is not None:
            self._fresh = {newest: self._fresh[newest]}

    def close(self, plan: PlannedSegment) -> tuple[Value | Thumbnail | None, Sequence[Observation[Any]], object]:
        """What the analyzer says of a segment, what it saw there, and its memo. Nothing once it has given up."""
        count = bisect_left(self._frames, plan.interval.end_frame)
        seen = self._seen[:count]
        del self._seen[:count], self._frames[:count]
        self.missing = self.missing or self.through < plan.interval.end_frame
        if not self.missing:
            try:
                value = self.analyzer.close(plan, seen)
                return value, seen, self.analyzer.memo() if isinstance(self.analyzer, Resumable) else None
            except Exception as error:
                self.missing = True
                self._give_up(error)
        return None, (), None

    def _give_up(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error.reason if isinstance(error, ReelsiftError) else InternalError.reason
            log.error("analyzer.failed", analyzer=self.analyzer.name, reason=self.failure, exc_info=error)
        self.cancel()
        self._advanced()

    def cancel(self) -> None:
        """Stop what is being analyzed."""
        for _, _, task in self._queue:
            if task is not None:
                task.cancel()
        self._queue.clear()


def ends_the_attempt(error: BaseException) -> bool:
    """Whether ``error`` is not the analyzer's: then all analyzers stop."""
    return not isinstance(error, Exception) or (isinstance(error, Unavailable) and error.retryable)

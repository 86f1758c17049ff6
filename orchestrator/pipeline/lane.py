"""Lanes: an analyzer at work on its batches.

A lane takes batches in order, lets a few be analyzed at once, and keeps observations in frame order until their
segment closes.
``through`` says how far it has answered.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.analyzers.base import Analyzer, Observation
from orchestrator.analyzers.batch import PictureBatch
from orchestrator.core.results import At

IN_FLIGHT = 2  # batches of one lane with its models: one runs, one waits (FACTS: more gain nothing)


class Lane:
    """One analyzer of one analysis."""

    def __init__(self, analyzer: Analyzer[Any], advanced: Callable[[], None]) -> None:
        self.analyzer = analyzer
        self.through = 0
        self._advanced = advanced
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._queue: deque[tuple[PictureBatch | None, int, asyncio.Task[Sequence[Any]] | None]] = deque()
        self._frames: list[int] = []  # of _seen, for bisection
        self._seen: list[Observation[Any]] = []
        self._fresh: dict[int, Any] = {}  # the answers that later near-duplicates may share

    async def put(self, batch: PictureBatch) -> asyncio.Task[Sequence[Any]] | None:
        """Start on a batch; waits while ``IN_FLIGHT`` are being analyzed. Returns the task that holds its pixels."""
        task: asyncio.Task[Sequence[Any]] | None = None
        if batch.rows:
            await self._room.acquire()
            task = asyncio.ensure_future(self._analyze(batch))
        self._queue.append((batch, batch.batch.through, task))
        self._collect()
        return task

    def advance(self, through: int) -> None:
        """No frame below ``through`` is still to come."""
        self._queue.append((None, through, None))
        self._collect()

    async def _analyze(self, batch: PictureBatch) -> Sequence[Any]:
        try:
            return await self.analyzer.analyze(batch)
        finally:
            self._room.release()
            # The task is done only after this returns.
            asyncio.get_running_loop().call_soon(self._collect)

    def _collect(self) -> None:
        """Take finished batches, in order."""
        before = self.through
        while self._queue:
            batch, through, task = self._queue[0]
            if task is not None and (not task.done() or task.cancelled() or task.exception() is not None):
                break  # a failure is raised by whoever awaits the task
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
            self._frames.append(row.index)
            self._seen.append(Observation(At(row.index, row.pts), self._fresh[source], row.same_as is not None))
            newest = source
        if newest is not None:
            self._fresh = {newest: self._fresh[newest]}

    def take(self, end_frame: int) -> list[Observation[Any]]:
        """Remove and return the observations of frames below ``end_frame``."""
        count = bisect_left(self._frames, end_frame)
        taken = self._seen[:count]
        del self._seen[:count], self._frames[:count]
        return taken

    def cancel(self) -> None:
        """Stop what is being analyzed."""
        for _, _, task in self._queue:
            if task is not None:
                task.cancel()

"""An attempt at work, as its runner sees it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto

from orchestrator.core.jobs import AnalysisRecord, Lease
from orchestrator.errors import LeaseLost, StoreUnavailable
from orchestrator.pipeline.attempt import Attempt
from orchestrator.pipeline.telemetry import Worked
from orchestrator.ports import AnalysisStore


class Stop(Enum):
    """Why an attempt is stopped from outside."""

    CANCEL = auto()
    DEADLINE = auto()
    YIELD = auto()
    DRAIN = auto()
    STUCK = auto()
    LOST = auto()


@dataclass
class Running:
    """Instants are those of ``time.monotonic``. ``moved``: when it was last seen to get on."""

    record: AnalysisRecord
    lease: Lease
    attempt: Attempt
    since: float
    task: asyncio.Task[None] | None = None
    why: Stop | None = None
    grown: float = 0.0  # when its upload last grew
    size: int = 0
    moved: float = 0.0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _position: tuple[int, int] = (-1, -1)

    def __post_init__(self) -> None:
        self.grown = self.moved = self.since

    def stop(self, why: Stop) -> None:
        """Stop the attempt; the first reason counts."""
        if self.why is None and self.task is not None:
            self.why = why
            self.stopping.set()
            self.task.cancel()

    def look(self, now: float) -> float:
        """Whether it has got on; returns for how many seconds it has not."""
        position = self.attempt.position
        if position != self._position:
            self._position, self.moved = position, now
        return now - self.moved

    def worked(self) -> Worked:
        """What it has done so far."""
        return Worked(time.monotonic() - self.since, self.attempt.stages.spent, self.attempt.finished)

    async def keep_time(self) -> None:
        """Stop the attempt at its deadline."""
        deadline = self.record.spec.deadline
        if deadline is not None:
            await asyncio.sleep(max(0.0, (deadline - datetime.now(UTC)).total_seconds()))
            self.stop(Stop.DEADLINE)

    async def beat(self, store: AnalysisStore, every: float, dead: float) -> None:
        """Say that we live, ``every`` so many seconds, and hear whether the client has cancelled elsewhere. Who was not heard for ``dead``
        seconds stops."""
        heard = time.monotonic()
        while True:
            await asyncio.sleep(every)
            try:
                record = await store.beat(self.lease)
            except LeaseLost:
                self.stop(Stop.LOST)
                return
            except StoreUnavailable:
                if time.monotonic() - heard > dead:
                    self.stop(Stop.LOST)  # somebody else may be at it by now
                    return
                continue
            heard = time.monotonic()
            if record.cancel_requested:
                self.stop(Stop.CANCEL)

    async def ended(self, patience: float) -> bool:
        """Wait for the attempt to end; False when it was stopped, and has not ended ``patience`` seconds later."""
        assert self.task is not None
        stopped = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((self.task, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not self.task.done():
                await asyncio.wait((self.task,), timeout=patience)
        finally:
            stopped.cancel()
        return self.task.done()

"""What waits, who works on it, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from orchestrator.core.health import Limits, Reading, Seen, Status, measured
from orchestrator.pipeline.operation_ports import Backlog, Ends, OperationsStore

HOUR = timedelta(hours=1)


def _now() -> datetime:
    return datetime.now(UTC)


class Capacity(Protocol):
    """How many analyses may run, and how many may wait, before new ones are refused."""

    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...


class Places(Protocol):
    """Who works. ``places``: how many analyses may be at work here at once, 0 while none is begun any more. ``resting``: that is because
    somebody wants it so."""

    @property
    def running(self) -> int: ...
    @property
    def places(self) -> int: ...
    @property
    def accepting(self) -> bool: ...
    @property
    def resting(self) -> bool: ...
    @property
    def limits(self) -> Capacity: ...


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Of the ``length`` in analyses, and of the ``age`` in seconds of what has waited longest."""

    length: Limits
    age: Limits


class Queue:
    """``queue``, whichever of its length and age is worse, and ``workers``: that somebody works on it."""

    name = "queue"

    def __init__(
        self, store: OperationsStore, places: Places, limits: QueueLimits, now: Callable[[], datetime] = _now
    ) -> None:
        self._store, self._places, self._limits, self._now = store, places, limits, now

    async def look(self) -> Seen:
        """See the port. Raises ``StoreUnavailable``."""
        backlog = await self._store.backlog()
        age = max(0.0, (self._now() - backlog.oldest).total_seconds()) if backlog.oldest else 0.0
        values = {
            "queued": float(backlog.waiting),
            "oldest_queued_seconds": age,
            "running": float(self._places.running),
            "places": float(self._places.places),
            "accepting": float(self._places.accepting),
        }
        return Seen((self._queue(backlog, age), self._workers(backlog)), values)

    def _queue(self, backlog: Backlog, age: float) -> Reading:
        limits, capacity = self._limits, self._places.limits
        if backlog.unended >= capacity.running + capacity.waiting:
            detail = f"full: {backlog.unended} analyses have not ended, new ones are refused"
            return Reading("queue", Status.CRITICAL, backlog.waiting, "analyses", limits.length, detail)
        length = measured("queue", backlog.waiting, "analyses", limits.length)
        waited = measured("queue", age, "seconds", limits.age, "the oldest has waited for so long")
        return waited if waited.status > length.status else length

    def _workers(self, backlog: Backlog) -> Reading:
        idle = backlog.waiting > 0 and self._places.places == 0 and not self._places.resting
        detail = f"{backlog.waiting} analyses wait, and none is begun" if idle else ""
        status = Status.CRITICAL if idle else Status.HEALTHY
        return Reading("workers", status, self._places.places, "places", detail=detail)


class Failures:
    """Of the last hour: ``failures``, the share of the analyses that failed, once ``least`` have ended, and ``frames``, the share of the
    frames that were to be decoded and were not to be had. ``limits`` and ``lost`` are ratios."""

    name = "failures"

    def __init__(
        self,
        store: OperationsStore,
        limits: Limits,
        least: int,
        lost: Limits,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._store, self._limits, self._least, self._lost, self._now = store, limits, least, lost, now

    async def look(self) -> Seen:
        """See the port. Raises ``StoreUnavailable``."""
        ends = await self._store.ends(self._now() - HOUR)
        failures, frames = self._failures(ends), self._frames(ends)
        return Seen((failures, frames), {"error_rate": failures.value, "frames_lost_ratio": frames.value})

    def _failures(self, ends: Ends) -> Reading:
        failed = sum(ends.failed.values())
        ended = failed + ends.succeeded
        rate = failed / ended if ended else 0.0
        if ended < self._least:
            detail = f"{failed} of {ended}: too few to judge" if failed else ""
            return Reading("failures", Status.HEALTHY, rate, "ratio", self._limits, detail)
        return measured("failures", rate, "ratio", self._limits, _words(ends, failed, ended))

    def _frames(self, ends: Ends) -> Reading:
        lost, expected = ends.frames.get("dropped", 0), ends.frames.get("expected", 0)
        detail = f"{lost} of {expected} within an hour" if lost else ""
        return measured("frames", lost / expected if expected else 0.0, "ratio", self._lost, detail)


def _words(ends: Ends, failed: int, ended: int) -> str:
    if not failed:
        return ""
    often = sorted(ends.failed.items(), key=lambda item: -item[1])[:2]
    return f"{failed} of {ended} within an hour; " + ", ".join(f"{count} {reason}" for reason, count in often)

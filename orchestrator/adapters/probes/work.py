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


class Places(Protocol):
    """Who works. ``places``: how many analyses may be at work here at once, 0 while none is begun any more. ``leaving``: that is because
    the server is going away."""

    @property
    def running(self) -> int: ...
    @property
    def places(self) -> int: ...
    @property
    def accepting(self) -> bool: ...
    @property
    def leaving(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Of the ``length`` in analyses, and of the ``age`` in seconds of what has waited longest. ``capacity``: unended analyses, from which
    on new ones are refused."""

    length: Limits
    age: Limits
    capacity: int


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
        limits = self._limits
        if backlog.unended >= limits.capacity:
            detail = f"full: {backlog.unended} analyses have not ended, new ones are refused"
            return Reading("queue", Status.CRITICAL, backlog.waiting, "analyses", limits.length, detail)
        length = measured("queue", backlog.waiting, "analyses", limits.length)
        waited = measured("queue", age, "seconds", limits.age, "the oldest has waited for so long")
        return waited if waited.status > length.status else length

    def _workers(self, backlog: Backlog) -> Reading:
        idle = backlog.waiting > 0 and self._places.places == 0 and not self._places.leaving
        detail = f"{backlog.waiting} analyses wait, and none is begun" if idle else ""
        status = Status.CRITICAL if idle else Status.HEALTHY
        return Reading("workers", status, self._places.places, "places", detail=detail)


class Failures:
    """``failures``: the share of the analyses of the last hour that failed, once ``least`` have ended. ``limits`` are ratios."""

    name = "failures"

    def __init__(self, store: OperationsStore, limits: Limits, least: int, now: Callable[[], datetime] = _now) -> None:
        self._store, self._limits, self._least, self._now = store, limits, least, now

    async def look(self) -> Seen:
        """See the port. Raises ``StoreUnavailable``."""
        ends = await self._store.ends(self._now() - HOUR)
        failed = sum(ends.failed.values())
        ended = failed + ends.succeeded
        rate = failed / ended if ended else 0.0
        values = {"error_rate": rate}
        if ended < self._least:
            detail = f"{failed} of {ended}: too few to judge" if failed else ""
            return Seen((Reading("failures", Status.HEALTHY, rate, "ratio", self._limits, detail),), values)
        return Seen((measured("failures", rate, "ratio", self._limits, _words(ends, failed, ended)),), values)


def _words(ends: Ends, failed: int, ended: int) -> str:
    if not failed:
        return ""
    often = sorted(ends.failed.items(), key=lambda item: -item[1])[:2]
    return f"{failed} of {ended} within an hour; " + ", ".join(f"{count} {reason}" for reason, count in often)

"""What operators see, in memory; and values to put there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.core.alerting import Alert, AlertFilter, Level, Silence
from orchestrator.core.health import Reading, Status
from orchestrator.core.statistics import Sample
from orchestrator.errors import NotFound
from orchestrator.pipeline.operation_ports import Backlog, Ends, OperationsStore

THEN = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class MemoryOperations:
    """An ``OperationsStore``. ``fault`` is raised by every method."""

    kept: dict[str, Alert] = field(default_factory=dict)
    said: dict[str, Silence] = field(default_factory=dict)
    added: list[Sample] = field(default_factory=list)
    fault: Exception | None = None
    reads: int = 0

    def _check(self) -> None:
        self.reads += 1
        if self.fault is not None:
            raise self.fault

    async def answer(self) -> None:
        self._check()

    async def backlog(self) -> Backlog:
        self._check()
        return Backlog()

    async def ends(self, since: datetime) -> Ends:
        self._check()
        return Ends()

    async def keep(self, alerts: Sequence[Alert]) -> None:
        self._check()
        self.kept |= {alert.id: alert for alert in alerts}

    async def alerts(self, query: AlertFilter, limit: int) -> Sequence[Alert]:
        self._check()
        newest = sorted(self.kept.values(), key=lambda alert: (alert.raised, alert.id), reverse=True)
        return [alert for alert in newest if query.takes(alert)][:limit]

    async def unsettled(self, server: str) -> Sequence[Alert]:
        self._check()
        left = [alert for alert in self.kept.values() if alert.resolved is None or not alert.notified]
        return [alert for alert in left if alert.server == server]

    async def silences(self, now: datetime) -> Sequence[Silence]:
        self._check()
        return sorted((each for each in self.said.values() if now < each.until), key=lambda each: (each.until, each.id))

    async def silence(self, silence: Silence) -> None:
        self._check()
        self.said[silence.id] = silence

    async def end_silence(self, silence_id: str, now: datetime) -> None:
        self._check()
        found = self.said.get(silence_id)
        if found is None or found.until <= now:
            raise NotFound("no such silence is in force")
        self.said[silence_id] = replace(found, until=now)

    async def add(self, sample: Sample) -> None:
        self._check()
        self.added.append(sample)

    async def samples(self, since: datetime, until: datetime, points: int, server: str = "") -> Sequence[Sample]:
        self._check()
        span = (until - since) // points + timedelta(microseconds=1)
        last: dict[tuple[str, int], Sample] = {}
        for each in sorted(self.added, key=lambda each: each.time):
            if since <= each.time <= until and server in ("", each.server):
                last[each.server, (each.time - since) // span] = each
        return sorted(last.values(), key=lambda each: (each.time, each.server))

    async def prune(self, before: datetime) -> None:
        self._check()
        self.added = [each for each in self.added if each.time >= before]
        self.kept = {a.id: a for a in self.kept.values() if a.resolved is None or a.resolved >= before}
        self.said = {each.id: each for each in self.said.values() if each.until >= before}

    async def bury(self, unheard_since: datetime, now: datetime) -> None:
        self._check()
        heard = {each.server for each in self.added if each.time >= unheard_since}
        for alert in [a for a in self.kept.values() if a.resolved is None and a.server not in heard]:
            self.kept[alert.id] = replace(alert, resolved=now, changed=now, notified=True)


def _is_a_port(store: MemoryOperations) -> OperationsStore:
    return store


def alert(name: str = "a", **changes: Any) -> Alert:
    """An open alert."""
    made = Alert(name, "here", "disk/data", Level.WARNING, "disk/data: 0.85 ratio", 0.85, THEN, THEN)
    return replace(made, **changes)


def silence(name: str = "s", **changes: Any) -> Silence:
    """An hour of it."""
    made = Silence(name, "disk/*", THEN + timedelta(hours=1), "käthe@host", "a new disk; 'quoted'", THEN)
    return replace(made, **changes)


def bad(component: str = "disk/data", status: Status = Status.WARNING, value: float = 0.85) -> Reading:
    """A reading that is not well."""
    return Reading(component, status, value, "ratio")


def good(component: str = "disk/data") -> Reading:
    """A reading that is."""
    return Reading(component, Status.HEALTHY, 0.5, "ratio")

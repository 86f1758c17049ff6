"""Alerts: a bad reading that lasts raises one, good readings that last resolve it. Pure.

One alert is open for a component at most: while it is, its level and its words follow the readings. Two numbers of looks (to raise, to
resolve) keep a value that wavers around its limit from raising again and again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.core.health import Reading, Status


class Level(StrEnum):
    """How urgent."""

    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something is wrong with ``component`` of ``server``. ``level`` is the worst that it was; ``value`` and ``summary`` are those of the
    newest bad reading. ``notified``: whether its news (raised, worse, or resolved) have been delivered, or there was nobody to tell.
    """

    id: str
    server: str
    component: str
    level: Level
    summary: str
    value: float
    raised: datetime
    changed: datetime
    resolved: datetime | None = None
    silenced_by: str = ""  # id of a silence
    notified: bool = False

    @property
    def runbook(self) -> str:
        """The page that says what to do."""
        return self.component.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is told of alerts whose component matches ``pattern`` (``*`` stands for anything), until ``until``."""

    id: str
    pattern: str
    until: datetime
    who: str
    why: str
    created: datetime

    def covers(self, component: str, now: datetime) -> bool:
        """Whether it is about ``component`` now."""
        return now < self.until and matches(component, self.pattern)


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts to list; empty fields do not restrict. ``open``: only those that are not resolved."""

    level: Level | None = None
    component: str = ""  # a pattern
    open: bool = False

    def takes(self, alert: Alert) -> bool:
        """Whether ``alert`` is one of them."""
        return (
            self.level in (None, alert.level)
            and matches(alert.component, self.component or "*")
            and not (self.open and alert.resolved)
        )


def matches(component: str, pattern: str) -> bool:
    """Whether ``pattern`` is about ``component``: ``*`` stands for anything, all else for itself."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), component) is not None


def summary(reading: Reading) -> str:
    """What is wrong, in a line."""
    if reading.limits is None:
        return f"{reading.component}: {reading.detail or 'does not work'}"
    limit = reading.limits.critical if reading.status is Status.CRITICAL else reading.limits.warning
    sign = "<=" if reading.limits.critical < reading.limits.warning else ">="
    passed = reading.limits.judge(reading.value) is not Status.HEALTHY
    words = f" ({sign} {limit:g})" if passed else ""
    return f"{reading.component}: {reading.value:.4g} {reading.unit}{words}" + (
        f"; {reading.detail}" if reading.detail else ""
    )


class Change(StrEnum):
    """What a reading does to the alert of its component."""

    NONE = "NONE"
    RAISE = "RAISE"
    WORSEN = "WORSEN"  # from warning to critical
    RESOLVE = "RESOLVE"


RAISE_AFTER = 2  # looks in a row
RESOLVE_AFTER = 2


@dataclass(slots=True)
class Hysteresis:
    """Of one component: what its readings come to."""

    level: Level | None = None  # of the open alert
    _bad: int = 0
    _critical: int = 0
    _good: int = 0

    def see(self, reading: Reading) -> Change:
        """A new reading."""
        bad, critical = reading.status is not Status.HEALTHY, reading.status is Status.CRITICAL
        self._bad = self._bad + 1 if bad else 0
        self._critical = self._critical + 1 if critical else 0
        self._good = 0 if bad else self._good + 1
        if self.level is None and self._bad >= RAISE_AFTER:
            self.level = Level.CRITICAL if critical else Level.WARNING
            return Change.RAISE
        if self.level is Level.WARNING and self._critical >= RAISE_AFTER:
            self.level = Level.CRITICAL
            return Change.WORSEN
        if self.level is not None and self._good >= RESOLVE_AFTER:
            self.level = None
            return Change.RESOLVE
        return Change.NONE

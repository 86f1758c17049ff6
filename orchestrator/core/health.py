"""How well each part of the service is, told by one number and its limits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum


class Status(IntEnum):
    """Higher is worse. The metric ``reelsift_health`` has these numbers."""

    HEALTHY = 0
    WARNING = 1  # it works, and somebody should look today
    CRITICAL = 2  # it does not, or soon will not: somebody should look now


KINDS = frozenset(
    {
        "triton",
        "model",
        "decoders",
        "gpu",
        "database",
        "artifacts",
        "queue",
        "workers",
        "sessions",
        "failures",
        "latency",
        "disk",
        "memory",
        "cpu",
        "frames",
        "certificate",
        "clock",
        "backup",
    }
)
"""What components there are, by the first part of their names. Each has its page, ``ops/runbooks/KIND.md``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From which value on a component is in a bad way. ``critical`` below ``warning`` means that small values are bad."""

    warning: float
    critical: float

    def judge(self, value: float) -> Status:
        """What ``value`` means; one that is a limit has passed it."""
        sign = -1 if self.critical < self.warning else 1
        if sign * value >= sign * self.critical:
            return Status.CRITICAL
        return Status.WARNING if sign * value >= sign * self.warning else Status.HEALTHY


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at one component. ``component`` is ``KIND`` or ``KIND/NAME`` (``disk/data``, ``model/labels``); there is a runbook for
    each kind. ``unit`` of the value and its limits: ``bytes``, ``ratio``, ``seconds``, ``analyses``..., or empty for 1 (up) and 0 (down).
    """

    component: str
    status: Status
    value: float
    unit: str = ""
    limits: Limits | None = None
    detail: str = ""

    @property
    def kind(self) -> str:
        """The first part of its name, and the name of its runbook."""
        return self.component.partition("/")[0]


def measured(component: str, value: float, unit: str, limits: Limits, detail: str = "") -> Reading:
    """A reading that its limits judge."""
    return Reading(component, limits.judge(value), value, unit, limits, detail)


def up(component: str, works: bool, detail: str = "") -> Reading:
    """A reading of something that is there or not."""
    return Reading(component, Status.HEALTHY if works else Status.CRITICAL, float(works), detail=detail)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look told: readings, and what was measured beside them, by name as in a ``Sample``."""

    readings: tuple[Reading, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Component:
    """A reading, and since when its status is what it is."""

    reading: Reading
    since: datetime


@dataclass(frozen=True, slots=True)
class Health:
    """Every component of one server, by name. ``time``: of the looks."""

    server: str
    time: datetime
    components: tuple[Component, ...]

    @property
    def status(self) -> Status:
        """That of the worst."""
        return worst(each.reading.status for each in self.components)


def worst(statuses: Iterable[Status]) -> Status:
    """The worst; healthy where there is none."""
    return max(statuses, default=Status.HEALTHY)

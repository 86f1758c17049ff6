"""What watching over the service needs from the world: eyes, a place for what they saw, and a way to tell somebody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from orchestrator.core.alerting import Alert, AlertFilter, Silence
from orchestrator.core.health import Seen
from orchestrator.core.statistics import Sample


class Probe(Protocol):
    """Eyes for one part of the world. ``name``: the component that is bad when it cannot see."""

    @property
    def name(self) -> str: ...

    async def look(self) -> Seen:
        """What there is now. Whatever it raises, and that it does not return, is a critical reading."""
        ...


class Notifier(Protocol):
    """Tells people of alerts."""

    async def tell(self, alert: Alert) -> bool:
        """Whether everybody has heard. Told of the same news again, it tries those who have not."""
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """``waiting``: queued analyses that could run, since ``oldest``. ``unended``: all that count towards the limit of a store."""

    waiting: int = 0
    oldest: datetime | None = None
    unended: int = 0


@dataclass(frozen=True, slots=True)
class Ends:
    """How analyses ended: successes, and the others by reason; those that somebody cancelled are not counted. ``frames`` of the ledgers:
    ``expected``, and ``dropped`` among them."""

    succeeded: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    frames: Mapping[str, int] = field(default_factory=dict)


class OperationsStore(Protocol):
    """What operators see, kept. Raises ``StoreUnavailable``, ``DiskFull``."""

    async def answer(self) -> None:
        """Return when the database lets itself be read, and written; changes nothing."""
        ...

    async def backlog(self) -> Backlog:
        """What waits."""
        ...

    async def ends(self, since: datetime) -> Ends:
        """Of the analyses that ended at ``since`` or later."""
        ...

    async def keep(self, alerts: Sequence[Alert]) -> None:
        """Write alerts as they are now, new ones and known ones."""
        ...

    async def alerts(self, query: AlertFilter, limit: int) -> Sequence[Alert]:
        """The newest, by the time they were raised."""
        ...

    async def unsettled(self, server: str) -> Sequence[Alert]:
        """Those of a server that are open, or whose news somebody still has to hear."""
        ...

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """Those in force, the one that ends first first."""
        ...

    async def silence(self, silence: Silence) -> None:
        """Keep a new one."""
        ...

    async def end_silence(self, silence_id: str, now: datetime) -> None:
        """It ends now. Raises ``NotFound`` for one that is not in force."""
        ...

    async def add(self, sample: Sample) -> None:
        """Keep a sample."""
        ...

    async def samples(self, since: datetime, until: datetime, points: int, server: str = "") -> Sequence[Sample]:
        """Oldest first, at most ``points`` a server, evenly spread; of one server, when it is named."""
        ...

    async def prune(self, before: datetime) -> None:
        """Forget samples, resolved alerts and silences that ended before."""
        ...

    async def bury(self, unheard_since: datetime, now: datetime) -> None:
        """Resolve what is open of servers that have kept no sample since: nobody looks any more."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How a wanted model is. ``loading``: for the first time. ``deaths``: of its processes, since the start."""

    ready: bool
    loading: bool = False
    deaths: int = 0
    why: str = ""  # it is not ready


@runtime_checkable
class Observable(Protocol):
    """An inference that lets itself be looked at."""

    async def live(self, seconds: float) -> bool:
        """Whether the model server answers within ``seconds``."""
        ...

    def standings(self) -> Mapping[str, Standing]:
        """Every wanted model, by the server's name for it."""
        ...

    def want_again(self, model: str) -> None:
        """Try to load a model that could not be loaded."""
        ...

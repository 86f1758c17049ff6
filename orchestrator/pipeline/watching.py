"""Looks at every part of the service again and again, and says how well it is.

All probes are read at once, each for so long and no longer. One that hangs is not asked again before it has returned, so that a disk or a
database that does not answer collects no threads; until then it is critical.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from orchestrator.core.alerting import Level
from orchestrator.core.health import Component, Health, Reading, Seen, Status
from orchestrator.errors import ReelsiftError
from orchestrator.pipeline.alerting import Alerting
from orchestrator.pipeline.operation_ports import Probe

PATIENCE_SECONDS = 3.0
LookListener = Callable[[Iterable[Reading], Mapping[str, float], Mapping[Level, int]], None]

_LOOKS: set[asyncio.Task[Seen]] = set()

log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Watching:
    """Looks every ``every`` seconds, and gives what it saw to ``alerting`` and to whoever subscribes."""

    def __init__(
        self,
        server: str,
        probes: Sequence[Probe],
        alerting: Alerting,
        *,
        every: float = 5.0,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._eyes = [_Eye(probe) for probe in probes]
        self._alerting, self._every, self._now = alerting, every, now
        self._patience = min(PATIENCE_SECONDS, 0.6 * every)  # two looks end within three periods
        self._listeners: list[LookListener] = []
        self.health = Health(server, now(), ())
        self.values: Mapping[str, float] = {}

    def subscribe(self, listener: LookListener) -> None:
        """Call ``listener`` after every look with the readings, what was measured, and the open alerts by level."""
        self._listeners.append(listener)

    def look_with(self, probes: Sequence[Probe]) -> None:
        """Look with other eyes from now on. What one of the old ones hangs on is left to itself."""
        self._eyes = [_Eye(probe) for probe in probes]

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("watching.unexpected_error")  # whoever watches must not die of what it sees
            due = max(due + self._every, loop.time())
            await asyncio.sleep(due - loop.time())

    async def look(self) -> Health:
        """Look once at everything."""
        looks = await asyncio.gather(*(eye.look(self._patience) for eye in self._eyes))
        now = self._now()
        before = {each.reading.component: each for each in self.health.components}
        readings = sorted((reading for seen in looks for reading in seen.readings), key=lambda each: each.component)
        components = tuple(_component(reading, before.get(reading.component), now) for reading in readings)
        self.values = {name: value for seen in looks for name, value in seen.values.items()}
        self.health = Health(self.health.server, now, components)
        self._alerting.see(readings)
        for listener in self._listeners:
            listener(readings, self.values, self._alerting.counts())
        return self.health


def _component(reading: Reading, before: Component | None, now: datetime) -> Component:
    changed = before is None or before.reading.status is not reading.status
    return Component(reading, now if changed or before is None else before.since)


class _Eye:
    """One probe, and the look of it that is under way."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._task: asyncio.Task[Seen] | None = None
        self._began = 0.0
        self._known: tuple[str, ...] = (probe.name,)
        self._told = ""

    async def look(self, patience: float) -> Seen:
        """What the probe saw, or that it could not."""
        if self._task is None:
            self._began = time.monotonic()
            self._task = asyncio.create_task(self._probe.look(), name=f"probe-{self._probe.name}")
            _LOOKS.add(self._task)  # whoever looks may be replaced meanwhile
            self._task.add_done_callback(_LOOKS.discard)
        await asyncio.wait({self._task}, timeout=patience)
        if not self._task.done():
            return self._blind(f"no answer for {time.monotonic() - self._began:.0f} s")
        task, self._task = self._task, None
        if (error := task.exception()) is not None:
            return self._failed(error)
        self._told = ""
        seen = task.result()
        self._known = tuple(reading.component for reading in seen.readings) or (self._probe.name,)
        return seen

    def _failed(self, error: BaseException) -> Seen:
        said = str(error) if isinstance(error, ReelsiftError) else type(error).__name__
        if said != self._told:  # once, as long as it goes on
            self._told = said
            expected = isinstance(error, ReelsiftError | OSError)
            log.warning("probe.failed", probe=self._probe.name, error=said, exc_info=None if expected else error)
        return self._blind(said)

    def _blind(self, why: str) -> Seen:
        return Seen(tuple(Reading(name, Status.CRITICAL, 0.0, detail=why) for name in self._known))

"""Everything that operators ask of a running service: see ``api.ports.Operations``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.core.alerting import Alert, AlertFilter, Silence
from orchestrator.core.health import Health
from orchestrator.core.statistics import Sample
from orchestrator.pipeline.control import Control


class Watcher(Protocol):
    """Who looks after the service."""

    def health(self) -> Health:
        """As of the last look."""
        ...

    async def samples(self, hours: float, server: str = "") -> Sequence[Sample]:
        """What servers measured of themselves."""
        ...

    async def alerts(self, query: AlertFilter, limit: int = 100) -> Sequence[Alert]:
        """Newest first."""
        ...

    async def silences(self) -> Sequence[Silence]:
        """Those in force."""
        ...

    async def silence(self, pattern: str, seconds: float, *, who: str, why: str) -> Silence:
        """Tell nobody for a while."""
        ...

    async def end_silence(self, silence_id: str) -> None:
        """End it now."""
        ...


class OperationsService:
    """``watcher`` looks, and ``control`` acts."""

    def __init__(self, control: Control, watcher: Watcher) -> None:
        self.health, self.samples = watcher.health, watcher.samples
        self.alerts, self.silences = watcher.alerts, watcher.silences
        self.silence, self.end_silence = watcher.silence, watcher.end_silence
        self.status, self.stats, self.sessions = control.status, control.stats, control.sessions
        self.terminate, self.set_maintenance = control.terminate, control.set_maintenance
        self.clean_up, self.drain, self.reload = control.clean_up, control.drain, control.reload

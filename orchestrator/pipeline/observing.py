"""What operators ask of the watcher: its half of ``api.ports.Operations``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.alerting import Alert, AlertFilter, Silence
from orchestrator.core.health import Health
from orchestrator.core.statistics import Sample
from orchestrator.pipeline.alerting import Alerting
from orchestrator.pipeline.history import History
from orchestrator.pipeline.watching import Watching


@dataclass(frozen=True, slots=True)
class Observing:
    """Answers with what the watcher saw."""

    watching: Watching
    alerting: Alerting
    history: History

    def health(self) -> Health:
        """See the port."""
        return self.watching.health

    async def samples(self, hours: float, server: str = "") -> Sequence[Sample]:
        """See the port."""
        return await self.history.samples(hours, server)

    async def alerts(self, query: AlertFilter, limit: int = 100) -> Sequence[Alert]:
        """See the port. While the store does not answer, those of this server that are open."""
        return await self.alerting.alerts(query, limit)

    async def silences(self) -> Sequence[Silence]:
        """See the port."""
        return await self.alerting.silences()

    async def silence(self, pattern: str, seconds: float, *, who: str, why: str) -> Silence:
        """See the port."""
        return await self.alerting.silence(pattern, seconds, who=who, why=why)

    async def end_silence(self, silence_id: str) -> None:
        """See the port."""
        await self.alerting.end_silence(silence_id)

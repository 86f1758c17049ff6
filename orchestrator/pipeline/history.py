"""The service's own history: the mean of what was measured, every minute, for as long as it is wanted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from orchestrator.core.alerting import Level
from orchestrator.core.health import Reading
from orchestrator.core.statistics import Sample
from orchestrator.errors import InvalidRequest, ReelsiftError
from orchestrator.pipeline.operation_ports import OperationsStore

POINTS = 1000  # of one server in one answer
LONGEST_HOURS = 8760.0
PRUNE_SECONDS = 3600.0
GONE = timedelta(days=1)  # a server that has kept no sample for so long

log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class History:
    """Samples of ``server`` every ``every`` seconds, kept for ``days``."""

    def __init__(
        self,
        server: str,
        store: OperationsStore,
        *,
        every: float = 60.0,
        days: float = 30.0,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._server, self._store, self._every, self._keep = server, store, every, timedelta(days=days)
        self._now = now
        self._seen: dict[str, list[float]] = defaultdict(list)

    def looked(self, readings: Iterable[Reading], values: Mapping[str, float], alerts: Mapping[Level, int]) -> None:
        """A listener of ``Watching``."""
        for name, value in values.items():
            self._seen[name].append(value)

    async def run(self) -> None:
        """Keep samples until cancelled. One that cannot be written is lost, and the next one is not."""
        loop = asyncio.get_running_loop()
        tidied = -PRUNE_SECONDS
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.keep()
                if loop.time() - tidied >= PRUNE_SECONDS:
                    await self.tidy()
                    tidied = loop.time()
            except ReelsiftError as error:
                log.warning("history.not_kept", reason=error.reason)

    async def tidy(self) -> None:
        """Let go of what is older than it is to be kept, and of alerts of servers that are gone. Raises as ``keep`` does."""
        now = self._now()
        await self._store.prune(now - self._keep)
        await self._store.bury(now - GONE, now)

    async def keep(self) -> None:
        """Write a sample of what was seen since the last one. Raises ``StoreUnavailable``, ``DiskFull``."""
        seen, self._seen = self._seen, defaultdict(list)
        if seen:
            means = {name: sum(values) / len(values) for name, values in seen.items()}
            await self._store.add(Sample(self._server, self._now(), means))

    async def samples(self, hours: float, server: str = "") -> Sequence[Sample]:
        """See ``api.ports.Operations``."""
        if not 0 < hours <= LONGEST_HOURS:
            raise InvalidRequest(f"hours are more than 0 and at most {LONGEST_HOURS:.0f}, got {hours:g}")
        now = self._now()
        return await self._store.samples(now - timedelta(hours=hours), now, POINTS, server)

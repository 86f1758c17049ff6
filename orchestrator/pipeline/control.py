"""What operators do with a running service; with ``pipeline.operations`` it is ``api.ports.Operations``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import structlog

from orchestrator.core.jobs import AnalysisRecord
from orchestrator.core.retention import Cleaned
from orchestrator.core.statistics import LONGEST_HOURS, ServiceStatus, Session, Stats
from orchestrator.errors import InvalidRequest
from orchestrator.pipeline.abilities import Abilities
from orchestrator.pipeline.control_ports import StatisticsStore
from orchestrator.pipeline.maintenance import Maintenance
from orchestrator.pipeline.service import AnalysisService
from orchestrator.pipeline.sessions import session_elsewhere, session_here

log = structlog.get_logger(__name__)


class Reload(Protocol):
    """Reads the settings anew; see ``api.ports.Operations.reload``."""

    def __call__(self, *, who: str, why: str) -> Sequence[str]: ...


class Clean(Protocol):
    """Lets go what retention keeps no longer; see ``pipeline.cleanup.Cleaner.clean``."""

    async def __call__(self, *, dry_run: bool) -> Cleaned: ...


@dataclass(slots=True)
class Control:
    """Of one server, by its name ``server``. ``ending`` is set when the process is to end."""

    server: str
    analyses: AnalysisService
    statistics: StatisticsStore
    maintenance: Maintenance
    abilities: Abilities
    reload: Reload
    clean: Clean
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def status(self) -> ServiceStatus:
        """What this server can do, and why not."""
        notice = self.maintenance.notice
        return ServiceStatus(
            server=self.server,
            started=self.started,
            accepting=self.analyses.accepting,
            maintenance=(notice.why or "no reason was given") if notice else "",
            maintenance_by=notice.who if notice else "",
            maintenance_since=notice.since if notice else None,
            versions=self.abilities.versions,
            capabilities=self.abilities.capabilities(),
        )

    async def stats(self, hours: float, *, until: datetime | None = None, profile: str = "") -> Stats:
        """Of the analyses that ended within the ``hours`` before ``until`` (now, by default), of one profile where it is named. Raises
        ``InvalidRequest`` unless 0 < ``hours`` <= 8760."""
        if not 0 < hours <= LONGEST_HOURS:
            raise InvalidRequest(f"hours must be above 0 and at most {LONGEST_HOURS:g}, got {hours:g}")
        return await self.statistics.stats(hours, until or self.now(), profile)

    async def sessions(self) -> Sequence[Session]:
        """What runs, longest first, at all servers of the store."""
        runner, stuck = self.analyses.runner, self.analyses.limits.stuck
        elsewhere = [each for each in await self.statistics.running() if each.owner != runner.owner]
        found = [session_here(each, self.server, stuck) for each in runner.running()]
        found += [session_elsewhere(each, stuck) for each in elsewhere]
        return sorted(found, key=lambda session: session.started)

    async def terminate(self, analysis_id: str, *, who: str, why: str) -> AnalysisRecord:
        """End an analysis in an operator's name; it keeps the segments that are told. Raises ``NotFound``."""
        if not who:
            raise InvalidRequest("say who ends the analysis")
        before = await self.analyses.get(analysis_id)
        if not before.state.ended:
            log.warning("session.terminated", analysis_id=analysis_id, state=before.state.value, who=who, why=why)
        return await self.analyses.cancel(analysis_id, terminated=why)

    async def set_maintenance(self, on: bool, *, who: str, why: str) -> None:
        """Refuse new analyses (``UnderMaintenance``) and say NOT_SERVING while it is on; what runs goes on, and what is queued waits."""
        await self.maintenance.set(on, who=who, why=why)

    async def clean_up(self, *, dry_run: bool, who: str, why: str) -> Cleaned:
        """Let go now what retention keeps no longer, or, in a ``dry_run``, only tell of it. Raises ``StoreUnavailable``."""
        if not who:
            raise InvalidRequest("say who cleans up")
        if not dry_run:
            log.info("cleanup.asked", who=who, why=why)
        return await self.clean(dry_run=dry_run)

    def drain(self, *, who: str, why: str) -> None:
        """Have this server end as for SIGTERM: NOT_SERVING, what runs may finish for a while, the rest goes back to the queue."""
        if not who:
            raise InvalidRequest("say who ends the server")
        log.warning("service.drain_asked", who=who, why=why)
        self.ending.set()

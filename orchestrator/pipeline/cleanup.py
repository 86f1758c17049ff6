"""Retention at work: looks at what there is, decides by the policies, and lets go what may."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from orchestrator.core.jobs import AnalysisFilter, AnalysisRecord, AnalysisState, SourceKind
from orchestrator.core.retention import Cleaned, Kind, Policies, Reason, Removal, Weights, inventory, plan
from orchestrator.core.statistics import LONGEST_HOURS
from orchestrator.errors import AnalysisNotEnded, NotFound, ReelsiftError
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import AnalysisStore, BlobStore

PAGE = 256
OUTCOMES_KEPT = timedelta(hours=LONGEST_HOURS + 24)  # what statistics may be asked for, and some more
_UNENDED = frozenset(state for state in AnalysisState if not state.ended)

log = structlog.get_logger(__name__)


class Past(Protocol):
    """What a database holds of ended analyses."""

    async def weigh(self) -> Weights:
        """Bytes of each kind by analysis."""
        ...

    async def drop(self, kind: Kind, analysis_id: str) -> Sequence[str]:
        """Forget an analysis' artifacts of a kind; returns keys of blobs that go with them. Raises ``AnalysisNotEnded``."""
        ...

    async def trim(self, before: datetime) -> None:
        """Forget what became of analyses that ended before."""
        ...

    async def shrink(self) -> None:
        """Give what is free inside the database back to the disk."""
        ...


@dataclass(slots=True)
class Cleaner:
    """Cleans one store. ``blobs`` holds ``KIND/ANALYSIS/NAME``, ``uploads`` the spool files by id. ``policies`` may be exchanged."""

    store: AnalysisStore
    past: Past
    blobs: BlobStore
    uploads: BlobStore
    policies: Policies = field(default_factory=dict)
    telemetry: Telemetry = field(default_factory=Telemetry)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self, now: datetime | None = None) -> list[Removal]:
        """What is to go now, in the order in which to remove it. Changes nothing."""
        # First the blobs: what has a row by the time the rows are read is no orphan.
        uploads = [info async for info in self.uploads.list()]
        blobs = [info async for info in self.blobs.list()]
        weights = await self.past.weigh()
        records = [record async for record in self._records(AnalysisFilter())]
        items, orphans = inventory(records, uploads, blobs, weights, now or datetime.now(UTC))
        return plan(items, self.policies) + orphans

    async def clean(self, *, dry_run: bool = False) -> Cleaned:
        """Remove what is to go, one call after the other. What came into use meanwhile, or cannot be removed now, stays."""
        if dry_run:
            return Cleaned(tuple(await self.look()))
        async with self._turn:
            return await self._clean()

    async def run(self, every: float) -> None:
        """Clean every ``every`` seconds until cancelled; a failure is logged, and the next turn tries again."""
        while True:
            try:
                await self.clean()
            except (ReelsiftError, OSError) as error:
                log.warning("cleanup.failed", reason=_reason(error))
            await asyncio.sleep(every)

    async def _clean(self) -> Cleaned:
        removals = await self.look()
        await self.past.trim(datetime.now(UTC) - OUTCOMES_KEPT)
        removed: list[Removal] = []
        kept: list[tuple[Removal, str]] = []
        for removal in removals:
            try:
                await self._remove(removal)
            except (ReelsiftError, OSError) as error:
                reason = _reason(error)
                kept.append((removal, reason))
                log.warning("cleanup.kept", kind=removal.kind, name=removal.name, reason=reason)
            else:
                removed.append(removal)
                self.telemetry.removed(removal.kind, removal.size)
                log.info("cleanup.removed", kind=removal.kind, name=removal.name, size=removal.size, why=removal.reason)
        if removed:
            await self.past.shrink()
        return Cleaned(tuple(removed), tuple(kept))

    async def _remove(self, removal: Removal) -> None:
        match removal.kind:
            case Kind.UPLOADS:
                if removal.reason is not Reason.ORPHAN:
                    await self._refuse_in_use(removal.name)
                await self.uploads.delete(removal.name)
            case Kind.ANALYSES:
                try:
                    await self.store.delete(removal.name)
                except NotFound:
                    return  # somebody was faster
            case kind:
                keys = set(await self.past.drop(kind, removal.name))
                keys |= {info.key async for info in self.blobs.list(f"{kind}/{removal.name}/")}
                for key in sorted(keys):
                    await self.blobs.delete(key)

    async def _refuse_in_use(self, upload: str) -> None:
        """A retry may have come since we looked."""
        async for record in self._records(AnalysisFilter(states=_UNENDED)):
            source = record.spec.source
            if source.kind is SourceKind.UPLOAD and source.name == upload:
                raise AnalysisNotEnded("an analysis of this upload has not ended", analysis_id=record.id)

    async def _records(self, query: AnalysisFilter) -> AsyncIterator[AnalysisRecord]:
        token = ""
        while True:
            page = await self.store.list(query, PAGE, token)
            for record in page.records:
                yield record
            token = page.next_token
            if not token:
                return


def _reason(error: ReelsiftError | OSError) -> str:
    return error.reason if isinstance(error, ReelsiftError) else errno.errorcode.get(error.errno or errno.EIO, "EIO")

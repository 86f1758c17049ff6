"""The analysis store on SQLite or PostgreSQL: one code path for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, RowMapping

from orchestrator.adapters.stores import leases, listing, progress, requests
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.migrate import upgrade
from orchestrator.adapters.stores.postgres import open_postgres
from orchestrator.adapters.stores.progress import Indexer
from orchestrator.adapters.stores.rows import change, find, hold, hold_leased, record_of
from orchestrator.adapters.stores.segments import read_segments
from orchestrator.adapters.stores.sqlite import open_sqlite
from orchestrator.core.jobs import (
    AnalysisFilter,
    AnalysisRecord,
    AnalysisSpec,
    AnalysisState,
    AnalyzerKey,
    Checkpoint,
    Lease,
    Page,
    Queued,
    ReusePlan,
    SourceRef,
    UploadState,
)
from orchestrator.core.results import Failed, Finished, LoggedEvent, Segment, Started
from orchestrator.core.statistics import Spent
from orchestrator.errors import SetupError

T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


def open_database(target: str | Path) -> Database:
    """The database ``target`` (``postgresql://...``, or the data directory of an embedded one), migrated. Blocks.

    Raises ``SetupError``, ``StoreUnavailable``.
    """
    address = str(target)
    if address.startswith(("postgresql://", "postgresql+psycopg://")):
        database = open_postgres(address)
    elif "://" in address:
        raise SetupError(
            "a database is a PostgreSQL address (postgresql://...), or the data directory of an embedded one"
        )
    else:
        database = open_sqlite(Path(target))
    try:
        upgrade(database)
    except BaseException:
        database.close()
        raise
    return database


@asynccontextmanager
async def open_store(
    target: str | Path, *, indexers: Sequence[Indexer] = (), clock: Callable[[], datetime] = _now
) -> AsyncIterator[SqlAnalysisStore]:
    """The store of ``target`` (see :func:`open_database`); leaving finishes what it was given."""
    database = await asyncio.to_thread(open_database, target)
    try:
        yield SqlAnalysisStore(database, indexers=indexers, clock=clock)
    finally:
        await asyncio.shield(asyncio.to_thread(database.close))


class SqlAnalysisStore:
    """An :class:`~orchestrator.ports.AnalysisStore`. Each method is one transaction."""

    def __init__(
        self, database: Database, *, indexers: Sequence[Indexer] = (), clock: Callable[[], datetime] = _now
    ) -> None:
        self.database = database
        self._indexers, self._now = tuple(indexers), clock

    @property
    def shared(self) -> bool:
        """Whether other processes may hold leases in it."""
        return self.database.shared

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction that only reads, and sees one state of the database throughout."""
        return await self.database.read(work)

    async def write(self, work: Callable[[Connection], T], at: str = "") -> T:
        """Run ``work`` in one transaction and commit it. It may run again, as long as it was not committed."""
        return await self.database.write(work, at)

    # --- what clients do ---

    async def create(self, analysis_id: str, spec: AnalysisSpec, *, limit: int) -> tuple[AnalysisRecord, bool]:
        """Queue a new analysis; whether it is new."""
        return await self.write(
            lambda sql: requests.create(sql, analysis_id, spec, limit, self._now), at="store.create"
        )

    async def get(self, analysis_id: str) -> AnalysisRecord:
        """The analysis."""
        return await self.run(lambda sql: record_of(find(sql, analysis_id)))

    async def list(self, query: AnalysisFilter, page_size: int, page_token: str = "") -> Page:
        """Analyses by time of creation, newest first."""
        return await self.run(lambda sql: listing.page(sql, query, page_size, page_token))

    async def read(self, analysis_id: str, after: int = 0, limit: int = 64) -> Sequence[tuple[int, LoggedEvent]]:
        """At most ``limit`` events of the log with positions above ``after``."""
        return await self.database.read_and_make(lambda sql: progress.read_log(sql, analysis_id, after, limit))

    async def request_cancel(self, analysis_id: str, *, terminated: str | None = None) -> AnalysisRecord:
        """Ask for its end."""
        return await self.write(
            lambda sql: requests.request_cancel(sql, analysis_id, self._now(), terminated), at="store.request_cancel"
        )

    async def delete(self, analysis_id: str) -> None:
        """Forget an ended analysis and everything of it."""
        await self.write(lambda sql: requests.remove(sql, analysis_id), at="store.delete")

    async def references(self, source: SourceRef) -> int:
        """How many analyses have this source."""
        return await self.run(lambda sql: requests.references(sql, source))

    async def set_upload(self, analysis_id: str, upload: UploadState) -> None:
        """How much of its upload is on disk. ``FailedPrecondition`` when the analysis has ended."""
        await self.write(lambda sql: requests.set_upload(sql, analysis_id, upload), at="store.set_upload")

    # --- what runners do ---

    async def queued(self, limit: int = 256) -> Sequence[Queued]:
        """Analyses that wait for a runner, highest priority and oldest first; the first ones of every tenant among them."""
        return await self.run(lambda sql: leases.queued(sql, limit))

    async def claim(self, analysis_id: str, owner: str) -> Lease | None:
        """Begin an attempt on a queued analysis; ``None`` when another was faster."""
        return await self.write(lambda sql: leases.claim(sql, analysis_id, owner, self._now()), at="store.claim")

    async def beat(self, lease: Lease) -> AnalysisRecord:
        """Say that the holder lives."""

        def beat(sql: Connection) -> AnalysisRecord:
            row = self._held(sql, lease)
            change(sql, lease.analysis_id, beats=row["beats"] + 1)
            return record_of(row)

        return await self.write(beat, at="store.beat")

    async def leases(self) -> dict[Lease, int]:
        """Every lease in force and its number of beats; a committed segment counts as a beat."""
        return await self.run(leases.leases)

    async def reclaim(self) -> Sequence[str]:
        """Requeue what a dead process left behind: here this process alone has the embedded database, so all that runs."""
        return [] if self.shared else await self.write(lambda sql: leases.reclaim(sql, self._now()), at="store.reclaim")

    async def requeue(self, lease: Lease, *, reason: str, strike: bool = False) -> None:
        """End an attempt whose analysis is to go on with another; for ``leases.INTERRUPTED`` it counts as an interruption."""
        await self.write(
            lambda sql: leases.requeue(sql, self._held(sql, lease), reason, strike, self._now()), at="store.requeue"
        )

    async def checkpoint(self, analysis_id: str) -> tuple[Checkpoint, Sequence[dict[str, object]]] | None:
        """The newest checkpoint, and the memos that count; ``None`` before the first, and after the end."""
        return await self.run(lambda sql: progress.read_checkpoint(sql, analysis_id))

    async def begin(self, lease: Lease, started: Started, reuse: ReusePlan | None) -> int:
        """Commit ``Started``, unless an earlier attempt did."""
        return await self.write(lambda sql: leases.begin(sql, self._held(sql, lease), started, reuse), at="store.begin")

    async def commit_segment(self, lease: Lease, segment: Segment, checkpoint: Checkpoint) -> int:
        """Commit a segment and the checkpoint behind it, together."""

        def commit(sql: Connection) -> int:
            return progress.commit_segment(
                sql, self._held(sql, lease), segment, checkpoint, self._indexers, self._now()
            )

        return await self.write(commit, at="store.commit_segment")

    async def end(
        self,
        lease: Lease,
        event: Finished | Failed,
        state: AnalysisState,
        keys: Sequence[AnalyzerKey] = (),
        spent: Spent | None = None,
    ) -> int:
        """Commit the final event and state, its analyzers' keys, and what it took."""

        def end(sql: Connection) -> int:
            return leases.finish(sql, self._held(sql, lease), event, state, keys, self._now(), spent)

        return await self.write(end, at="store.end")

    def _held(self, sql: Connection, lease: Lease) -> RowMapping:
        return hold_leased(sql, lease)

    # --- what is known already ---

    async def set_digest(self, analysis_id: str, digest: str) -> None:
        """The sha256 of its source."""

        def set_digest(sql: Connection) -> None:
            change(sql, hold(sql, analysis_id)["id"], content_digest=digest)

        await self.write(set_digest, at="store.set_digest")

    async def sized(self, size: int) -> bool:
        """Whether a succeeded analysis has a source of ``size`` bytes."""
        return await self.run(lambda sql: requests.has_size(sql, size))

    async def known(self, digest: str, keys: Sequence[AnalyzerKey]) -> ReusePlan | None:
        """The succeeded, whole analysis of these bytes that holds the most of ``keys``."""
        return await self.run(lambda sql: progress.known(sql, digest, keys))

    async def segments(self, analysis_id: str, first: int = 0, limit: int = 64) -> Sequence[Segment]:
        """At most ``limit`` committed segments from number ``first`` on."""

        def segments(sql: Connection) -> Callable[[], list[Segment]]:
            find(sql, analysis_id)
            return read_segments(sql, analysis_id, first, limit)

        return await self.database.read_and_make(segments)

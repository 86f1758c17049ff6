"""What a database holds of the past in bytes, and letting parts of it go; see ``pipeline.cleanup.Past``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, text

from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.schema import METADATA, analyses, artifacts
from orchestrator.adapters.stores.statistics import SqlStatistics
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.retention import Kind, Weights
from orchestrator.errors import AnalysisNotEnded

ARTIFACTS: Mapping[Kind, str] = {Kind.THUMBNAILS: "THUMBNAIL", Kind.REPORTS: "REPORT"}
VACUUM_PAGES = 1000  # given back to the disk in one transaction: 4 MB, so that no commit waits long


class SqlPast:
    """The past in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def weigh(self) -> Weights:
        """Bytes of each kind by analysis: artifacts, wherever their bytes are, and annotations."""
        return await self._database.read(weigh)

    async def drop(self, kind: Kind, analysis_id: str) -> tuple[str, ...]:
        """Forget an analysis' artifacts of a kind; returns the keys of those whose bytes are blobs. Raises
        ``AnalysisNotEnded``."""
        return await self._database.write(lambda connection: drop(connection, kind, analysis_id))

    async def trim(self, before: datetime) -> None:
        """Forget what became of analyses that ended before."""
        await SqlStatistics(self._database).forget(before)

    async def shrink(self) -> None:
        """Give what is free inside the database back to the disk, as far as it has not yet been (SQLite)."""
        while await self._database.write(_shrink):
            pass


def weigh(connection: Connection) -> dict[tuple[Kind, str], int]:
    """See ``SqlPast.weigh``."""
    kinds = {name: kind for kind, name in ARTIFACTS.items()}
    by_kind = select(artifacts.c.analysis_id, artifacts.c.kind, func.sum(artifacts.c.size))
    by_kind = by_kind.where(artifacts.c.kind.in_(kinds)).group_by(artifacts.c.analysis_id, artifacts.c.kind)
    found = {(kinds[kind], name): int(size) for name, kind, size in connection.execute(by_kind)}
    annotations = METADATA.tables["annotations"]
    rows = select(annotations.c.analysis_id, func.sum(func.length(annotations.c.value)))
    rows = rows.group_by(annotations.c.analysis_id)
    return found | {(Kind.ANALYSES, name): int(size) for name, size in connection.execute(rows)}


def drop(connection: Connection, kind: Kind, analysis_id: str) -> tuple[str, ...]:
    """See ``SqlPast.drop``."""
    state = connection.execute(select(analyses.c.state).where(analyses.c.id == analysis_id).with_for_update()).scalar()
    if state is not None and not AnalysisState(state).ended:
        raise AnalysisNotEnded("the analysis has not ended", analysis_id=analysis_id)
    mine = (artifacts.c.analysis_id == analysis_id, artifacts.c.kind == ARTIFACTS[kind])
    keys = connection.execute(select(artifacts.c.key).where(*mine, artifacts.c.body.is_(None))).scalars().all()
    connection.execute(delete(artifacts).where(*mine))
    return tuple(keys)


def _shrink(connection: Connection) -> bool:
    if connection.dialect.name != "sqlite":
        return False  # PostgreSQL's autovacuum sees to it
    before = _free_pages(connection)
    if before:
        cursor = connection.connection.cursor()
        cursor.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        cursor.fetchall()  # a page for each row, though the rows have no columns
        cursor.close()
    return before > _free_pages(connection) > 0


def _free_pages(connection: Connection) -> int:
    return int(connection.execute(text("PRAGMA freelist_count")).scalar_one())

"""A store that is only looked at, also while a server uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL

from orchestrator.adapters.stores import migrate, sqlite
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.postgres import open_postgres
from orchestrator.adapters.stores.sql import SqlAnalysisStore
from orchestrator.errors import SetupError


@asynccontextmanager
async def open_beside(target: str | Path) -> AsyncIterator[SqlAnalysisStore]:
    """The store of ``target`` (see ``open_store``) for reading; what would write is refused by the database.

    Nothing is migrated: raises ``SetupError`` where that is missing, or where there is no database.
    """
    database = await asyncio.to_thread(_open, target)
    try:
        yield SqlAnalysisStore(database)
    finally:
        await asyncio.shield(asyncio.to_thread(database.close))


def _open(target: str | Path) -> Database:
    database = _embedded(target) if isinstance(target, Path) else _shared(target)
    try:
        if database.read_now(migrate.revision) != migrate.HEAD:
            raise SetupError(
                "the database is of another version of reelsift: start a server of this version on it once"
            )
    except BaseException:
        database.close()
        raise
    return database


def _embedded(data_dir: Path) -> Database:
    """Without the lock of the data directory, as its owner keeps that; so each transaction must be short."""
    file = data_dir / sqlite.FILE_NAME
    if not file.is_file():
        raise SetupError("there is no database in this data directory: name the server's with REELSIFT_DATA_DIR")
    engine = sqlite.make_engine(URL.create("sqlite", database=str(file)), 1, "BEGIN", "query_only=ON")
    return Database(writing=engine, reading=engine, writers=1, readers=1, shared=True, on_close=engine.dispose)


def _shared(address: str) -> Database:
    database = open_postgres(address)
    return Database(
        writing=database.reading, reading=database.reading, writers=1, readers=1, shared=True, on_close=database.close
    )

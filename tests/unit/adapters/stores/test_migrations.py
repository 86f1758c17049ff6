"""Migrations make the tables that the code knows, from wherever a database stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from orchestrator.adapters.stores import migrate
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.postgres import open_postgres
from orchestrator.adapters.stores.schema import METADATA
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_database
from orchestrator.adapters.stores.sqlite import open_sqlite
from orchestrator.adapters.stores.statistics import SqlStatistics
from orchestrator.core.jobs import AnalysisState
from orchestrator.errors import SetupError
from tests.support.older import copy_known
from tests.support.postgres import Postgres
from tests.support.store_values import FINISHED, checkpoint, ended, running, segment

RELEASED = ("0001",)
"""The revision that each released version left behind (none is released yet: the first one)."""


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    if request.param == "sqlite":
        database = open_sqlite(tmp_path / "data")
        yield database
        database.close()
    else:
        server: Postgres = request.getfixturevalue("postgres")
        name = server.create()
        database = open_postgres(server.url(name))
        yield database
        database.close()
        server.drop(name)


@pytest.fixture
def another(empty: Database, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """One more of the same kind."""
    if not empty.shared:
        database = open_sqlite(tmp_path / "another")
        yield database
        database.close()
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create()
    database = open_postgres(server.url(name))
    yield database
    database.close()
    server.drop(name)


def difference(connection: Connection) -> list[object]:
    """What the database has otherwise than the metadata; search has tables of its own, and tests."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or not (name or "").startswith("search_")

    context = MigrationContext.configure(connection, opts={"include_name": ours, "compare_type": True})
    return list(compare_metadata(context, METADATA))


def test_migrations_and_metadata_agree(empty: Database) -> None:
    migrate.upgrade(empty)
    assert empty.write_now(difference) == []


def test_a_column_that_no_migration_made_is_noticed(empty: Database) -> None:
    migrate.upgrade(empty)
    empty.write_now(lambda sql: sql.execute(text("ALTER TABLE labels ADD COLUMN colour TEXT")))
    assert empty.write_now(difference) != []


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    assert ScriptDirectory(str(Path(migrate.__file__).parent / "migrations")).get_current_head() == migrate.HEAD


@pytest.mark.parametrize("revision", RELEASED)
async def test_what_a_released_version_stored_is_read_after_the_upgrade(
    empty: Database, another: Database, revision: str
) -> None:
    migrate.upgrade(another)
    today = SqlAnalysisStore(another)
    await ended(today, "ended", segments=3)
    lease = await running(today, "running", segments=2)
    before = [(await today.get(name), await today.read(name)) for name in ("ended", "running")]
    stats = await SqlStatistics(another).stats(1, datetime.now(UTC))
    migrate.upgrade(empty, revision)
    copy_known(another, empty)
    migrate.upgrade(empty)
    assert empty.write_now(migrate.revision) == migrate.HEAD
    store = SqlAnalysisStore(empty)
    assert [(await store.get(name), await store.read(name)) for name in ("ended", "running")] == before
    told = await SqlStatistics(empty).stats(1, datetime.now(UTC))
    assert told == replace(stats, frames_analyzed=told.frames_analyzed, frames_reused=told.frames_reused)
    assert (told.ended, told.frames_analyzed, told.frames_reused) == (1, 3 * 10, 3 * 2), (
        "annotations tell what was given"
    )
    assert await store.commit_segment(lease, segment(2), checkpoint(2)) == 4
    assert await store.end(lease, FINISHED, AnalysisState.SUCCEEDED) == 5


def test_an_upgrade_that_fails_leaves_nothing_behind(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SetupError("in the middle")

    monkeypatch.setattr("alembic.op.create_index", fail)
    with pytest.raises(SetupError, match="in the middle"):
        migrate.upgrade(empty)
    monkeypatch.undo()
    assert empty.write_now(migrate.revision) is None
    migrate.upgrade(empty)
    assert empty.write_now(difference) == []


def test_a_database_of_a_newer_version_is_left_alone(empty: Database) -> None:
    migrate.upgrade(empty)
    empty.write_now(lambda sql: sql.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(SetupError, match="newer version"):
        migrate.upgrade(empty)
    assert empty.write_now(migrate.revision) == "9999"


def test_an_up_to_date_database_is_opened_as_it_is(sqlite_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alembic.command.upgrade", lambda *_: pytest.fail("nothing is to be migrated"))
    open_database(sqlite_dir).close()

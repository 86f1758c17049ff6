"""What goes wrong with a database, and what is left then."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, exc, text

from orchestrator.adapters.stores.faults import translated
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_database, open_store
from orchestrator.adapters.stores.sqlite import FILE_NAME, LOCK_NAME
from orchestrator.core.jobs import AnalysisState
from orchestrator.errors import DiskFull, InternalError, SetupError, StoreUnavailable
from tests.support.postgres import Postgres
from tests.support.store_values import PATH, checkpoint, ended, running, segment


@pytest.fixture
async def embedded(sqlite_dir: Path) -> AsyncIterator[SqlAnalysisStore]:
    async with open_store(sqlite_dir) as store:
        yield store


def pragma(store: SqlAnalysisStore, name: str) -> object:
    return store.database.write_now(lambda sql: sql.exec_driver_sql(f"PRAGMA {name}").scalar())


# --- a full disk -----------------------------------------------------------------------------------------------------


async def test_a_full_disk_refuses_and_changes_nothing_and_goes_on_when_there_is_room(
    embedded: SqlAnalysisStore,
) -> None:
    lease = await running(embedded, segments=1)
    pages = int(str(pragma(embedded, "page_count")))
    pragma(embedded, f"max_page_count={pages + 2}")
    before = await embedded.get("one"), await embedded.read("one"), await embedded.checkpoint("one")
    index, full = 1, False
    while not full:
        try:
            await embedded.commit_segment(lease, segment(index), checkpoint(index))
        except DiskFull:
            full = True
        else:
            before = await embedded.get("one"), await embedded.read("one"), await embedded.checkpoint("one")
            index += 1
    assert index < 20
    assert (await embedded.get("one"), await embedded.read("one"), await embedded.checkpoint("one")) == before
    pragma(embedded, "max_page_count=1000000")
    assert await embedded.commit_segment(lease, segment(index), checkpoint(index)) == index + 2
    assert pragma(embedded, "integrity_check") == "ok"


async def test_a_full_disk_of_postgresql_refuses_and_changes_nothing(postgres_url: str) -> None:
    def full(sql: Connection, *_: object) -> None:
        sql.execute(text("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$"))

    async with open_store(postgres_url) as store:
        lease = await running(store)
        broken = SqlAnalysisStore(store.database, indexers=[full])
        with pytest.raises(DiskFull):
            await broken.commit_segment(lease, segment(0), checkpoint(0))
        assert await store.segments("one") == []
        assert await store.commit_segment(lease, segment(0), checkpoint(0)) == 2


# --- a database that is away -----------------------------------------------------------------------------------------


async def test_a_locked_database_is_not_waited_for_forever(embedded: SqlAnalysisStore, sqlite_dir: Path) -> None:
    await embedded.create("one", PATH, limit=1)
    pragma(embedded, "busy_timeout=50")
    other = sqlite3.connect(sqlite_dir / FILE_NAME, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable):
        await embedded.claim("one", "me")
    other.execute("ROLLBACK")
    other.close()
    assert await embedded.claim("one", "me") is not None


async def test_a_connection_that_was_lost_is_made_again(postgres: Postgres, postgres_url: str) -> None:
    async with open_store(postgres_url) as store:
        lease = await running(store)
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reelsift'")
        assert await store.commit_segment(lease, segment(0), checkpoint(0)) == 2


async def test_a_connection_lost_in_a_transaction_takes_it_along(postgres: Postgres, postgres_url: str) -> None:
    def lose(sql: Connection, *_: object) -> None:
        sql.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    async with open_store(postgres_url) as store:
        lease = await running(store)
        with pytest.raises(StoreUnavailable):
            await SqlAnalysisStore(store.database, indexers=[lose]).commit_segment(lease, segment(0), checkpoint(0))
        assert await store.segments("one") == []
        assert await store.commit_segment(lease, segment(0), checkpoint(0)) == 2


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        async with open_store(f"postgresql://postgres@/none?host={tmp_path}"):
            pass
    assert str(tmp_path) not in str(caught.value)


async def test_a_transaction_in_anothers_way_is_tried_again(postgres_url: str) -> None:
    async with open_store(postgres_url) as store:
        for name in ("one", "two"):
            await store.create(name, PATH, limit=9)
        met = threading.Barrier(2)  # each holds its first row
        tries = []

        def touch(first: str, second: str) -> None:
            def work(sql: Connection) -> None:
                tries.append(first)
                change = "UPDATE analyses SET strikes = strikes + 1 WHERE id = :name"
                sql.execute(text(change), {"name": first})
                if len(tries) <= 2:
                    met.wait(5)
                sql.execute(text(change), {"name": second})

            return work  # type: ignore[return-value]

        await asyncio.gather(store.write(touch("one", "two")), store.write(touch("two", "one")))  # type: ignore[arg-type]
        assert len(tries) >= 3  # who was in the way may be so again, until the other has committed
        assert [(await store.get(name)).strikes for name in ("one", "two")] == [2, 2]


def test_other_refusals_are_faults_of_ours_and_say_nothing_native() -> None:
    error = translated(exc.IntegrityError("INSERT INTO secret", {}, sqlite3.IntegrityError("UNIQUE secret")))
    assert isinstance(error, InternalError)
    assert "secret" not in str(error)


async def test_a_damaged_file_is_told(sqlite_dir: Path) -> None:
    (sqlite_dir / FILE_NAME).write_bytes(b"no database at all" * 1000)
    with pytest.raises(InternalError, match="damaged"):
        async with open_store(sqlite_dir):
            pass


# --- one process at a time -------------------------------------------------------------------------------------------


def test_a_data_directory_belongs_to_one_process_at_a_time(sqlite_dir: Path) -> None:
    first = open_database(sqlite_dir)
    with pytest.raises(SetupError, match="REELSIFT_DATA_DIR"):
        open_database(sqlite_dir)
    first.close()
    first.close()
    open_database(sqlite_dir).close()


def test_a_data_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    open_database(folder).close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / LOCK_NAME).exists()


def test_a_data_directory_that_cannot_be_is_told_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError) as caught:
        open_database(tmp_path / "file" / "data")
    assert str(tmp_path) not in str(caught.value)


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(SetupError):
        open_database("mysql://localhost/x")


async def test_the_embedded_database_is_careful(embedded: SqlAnalysisStore) -> None:
    for name, value in {"journal_mode": "truncate", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2}.items():
        assert pragma(embedded, name) == value
        assert await embedded.run(lambda sql, name=name: sql.exec_driver_sql(f"PRAGMA {name}").scalar()) == value  # type: ignore[misc]


async def test_a_reader_changes_nothing(store_target: str | Path) -> None:
    async with open_store(store_target) as store:
        await ended(store)
        with pytest.raises((InternalError, StoreUnavailable)):
            await store.run(lambda sql: sql.execute(text("DELETE FROM analyses")))
        assert (await store.get("one")).state is AnalysisState.SUCCEEDED


async def test_a_reader_sees_one_state_throughout(store_target: str | Path) -> None:
    """On SQLite a reader holds writers back; on PostgreSQL it has a snapshot."""
    async with open_store(store_target) as store:
        await store.create("one", PATH, limit=9)
        loop = asyncio.get_running_loop()

        def look(sql: Connection) -> tuple[int, int]:
            count = text("SELECT count(*) FROM analyses")
            before = sql.execute(count).scalar_one()
            writing = asyncio.run_coroutine_threadsafe(store.create("two", PATH, limit=9), loop)
            if store.shared:
                writing.result(5)
            return before, sql.execute(count).scalar_one()

        assert await store.run(look) == (1, 1)
        async with asyncio.timeout(5):
            while len(await store.queued()) < 2:
                await asyncio.sleep(0.01)


# --- killed ----------------------------------------------------------------------------------------------------------

KILLED = """
import asyncio, os, signal, sys
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from tests.support.store_values import running, segment, checkpoint
from dataclasses import replace

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main(target, when):
    async with open_store(target, indexers=[die] if when == "before" else []) as store:
        lease = await running(SqlAnalysisStore(store.database), segments=2)
        # More than the cache holds: a part is in the file before the commit.
        large = replace(segment(2), thumbnail=replace(segment(2).thumbnail, jpeg=b"x" * (40 << 20)))
        if when == "after":
            store.write = die_behind(store.write)
        await store.commit_segment(lease, large if when == "before" else segment(2), checkpoint(2))

def die_behind(write):
    async def write_and_die(*arguments, **keywords):
        await write(*arguments, **keywords)
        die()

    return write_and_die

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(("when", "kept"), [("before", 2), ("after", 3)])
async def test_a_killed_process_leaves_a_segment_whole_or_not_at_all(
    store_target: str | Path, when: str, kept: int
) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(store_target), when)
    assert await process.wait() == -signal.SIGKILL
    async with open_store(store_target) as store:
        record = await store.get("one")
        assert (record.state, record.segments) == (AnalysisState.RUNNING, kept)
        assert await store.segments("one") == [segment(index) for index in range(kept)]
        found = await store.checkpoint("one")
        assert found is not None
        assert found[0] == checkpoint(kept - 1)
        if not store.shared:
            assert await store.reclaim() == ["one"]
            assert await store.run(lambda sql: sql.exec_driver_sql("PRAGMA integrity_check").scalar()) == "ok"

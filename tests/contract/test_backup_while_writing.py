"""A backup taken while analyses commit is the store as it was at one commit; a plain copy is not, and the check sees that.

Every commit counts itself inside its own transaction, in a label of an analysis that does nothing else. So a state of the store says
how many commits it holds, and the log of commits says which.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, RowMapping, select, update

from orchestrator.adapters.stores import snapshot_postgres, sqlite
from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.backup import Place, back_up, restore
from orchestrator.adapters.stores.postgres import open_postgres
from orchestrator.adapters.stores.schema import labels
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.core.jobs import AnalysisFilter
from orchestrator.core.results import Segment
from orchestrator.errors import ReelsiftError
from tests.support.backups import place_of
from tests.support.store_values import checkpoint, running, segment, spec

Target = str | Path
ANALYSES = 50
COUNTER = "counter"


class CommitLog:
    """Which analysis each commit belongs to, by the commit's number."""

    def __init__(self) -> None:
        self.commits: dict[int, str] = {}
        self.acknowledged = 0

    def index(self, connection: Connection, row: RowMapping, _: Segment) -> None:
        """An ``Indexer``: runs inside the transaction of the commit."""
        mine = (labels.c.analysis_id == COUNTER, labels.c.name == "commits")
        now = connection.execute(select(labels.c.value).where(*mine).with_for_update()).scalar_one()
        connection.execute(update(labels).where(*mine).values(value=str(int(now) + 1)))
        self.commits[int(now) + 1] = row["id"]  # one that is rolled back is counted again, by whoever comes next


@asynccontextmanager
async def committing(store: SqlAnalysisStore, log: CommitLog) -> AsyncIterator[None]:
    """Meanwhile fifty analyses commit segment after segment."""
    await store.create(COUNTER, spec(labels=(("commits", "0"),)), limit=1000)
    leases = [await running(store, f"analysis-{number:02}") for number in range(ANALYSES)]

    async def write(number: int) -> None:
        index = 0
        while True:
            await store.commit_segment(leases[number], segment(index, mark=str(number)), checkpoint(index))
            log.acknowledged += 1
            index += 1

    writers = [asyncio.create_task(write(number)) for number in range(ANALYSES)]
    try:
        while log.acknowledged < ANALYSES:
            await asyncio.sleep(0.01)
        yield
        assert not any(writer.done() for writer in writers)
    finally:
        for writer in writers:
            writer.cancel()
        await asyncio.wait(writers)


async def differences(target: Target, original: SqlAnalysisStore, log: CommitLog) -> list[str]:
    """How the store of ``target`` differs from the original at the commit that it claims to hold last."""
    async with open_store(target) as copy:
        found = [finding.rule for finding in await copy.run(audit) if finding.count]
        query = select(labels.c.value).where(labels.c.analysis_id == COUNTER)
        commits = int((await copy.run(lambda sql: sql.execute(query))).scalar_one())
        expected = Counter(log.commits[number] for number in range(1, commits + 1))
        records = {record.id: record for record in (await copy.list(AnalysisFilter(), 1000)).records}
        if set(records) != {COUNTER, *(f"analysis-{number:02}" for number in range(ANALYSES))}:
            found.append("analyses")
        for name, record in records.items():
            count = expected[name]
            if record.segments != count:
                found.append(f"{name} has {record.segments} segments instead of {count}")
            elif await copy.segments(name, 0, count + 1) != await original.segments(name, 0, count):
                found.append(f"{name} has other segments")
        return found


@pytest.fixture
def place(store_target: Target, tmp_path: Path) -> Place:
    return place_of(store_target, tmp_path / "place")


@pytest.fixture
def other(store_target: Target, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Target]:
    """Makes empty stores of the same kind."""
    numbers = iter(range(100))
    if isinstance(store_target, Path):
        return lambda: tmp_path / f"other-{next(numbers)}"
    postgres = request.getfixturevalue("postgres")
    template = request.getfixturevalue("migrated_postgres")
    return lambda: postgres.url(postgres.create(template))


async def test_a_backup_is_the_store_at_one_commit(
    store_target: Target, place: Place, other: Callable[[], Target], tmp_path: Path
) -> None:
    log = CommitLog()
    async with open_store(store_target, indexers=[log.index]) as original:
        async with committing(original, log):
            for turn in range(2):
                before = log.acknowledged
                manifest = await back_up(place, tmp_path / f"backup-{turn}")
                assert manifest.rows["analyses"] == ANALYSES + 1
                assert manifest.rows["segments"] >= before  # nothing acknowledged before it is missing
                assert log.acknowledged > before  # they did go on
        for turn in range(2):
            target = other()
            await restore(place_of(target, tmp_path / f"place-{turn}"), tmp_path / f"backup-{turn}")
            assert await differences(target, original, log) == []


async def test_a_plain_copy_is_caught(store_target: Target, other: Callable[[], Target], tmp_path: Path) -> None:
    """The negative control: what a careless backup would be, and that the check above sees it."""
    log = CommitLog()
    targets = [other() for _ in range(3)]
    async with open_store(store_target, indexers=[log.index]) as original:
        async with committing(original, log):
            for target in targets:
                if isinstance(target, Path):
                    assert isinstance(store_target, Path)
                    await asyncio.to_thread(copy_slowly, store_target / sqlite.FILE_NAME, target / sqlite.FILE_NAME)
                else:
                    assert isinstance(store_target, str)
                    await asyncio.to_thread(copy_each_by_itself, store_target, target, tmp_path)
        assert any([await is_wrong(target, original, log) for target in targets])


async def is_wrong(target: Target, original: SqlAnalysisStore, log: CommitLog) -> bool:
    try:
        return bool(await differences(target, original, log))
    except (ReelsiftError, sqlite3.DatabaseError):
        return True


def copy_slowly(source: Path, target: Path) -> None:
    """Read a file piece by piece while it changes, as ``cp`` of a large one does: slowly for a second, or it might never catch up."""
    target.parent.mkdir()
    with source.open("rb") as reading, target.open("wb") as writing:
        slow_until = time.monotonic() + 1.0
        while piece := reading.read(1 << 16):
            writing.write(piece)
            time.sleep(0.005 if time.monotonic() < slow_until else 0)


def copy_each_by_itself(source: str, target: str, scratch: Path) -> None:
    """COPY every table in a transaction of its own."""
    folder = scratch / f"plain-{time.monotonic_ns()}"
    folder.mkdir()
    taking, giving = open_postgres(source), open_postgres(target)
    try:
        with taking.writing.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            snapshot = snapshot_postgres._taken(connection, folder)
        with giving.writing.begin() as connection:
            connection.exec_driver_sql("SET session_replication_role = replica")  # it would refuse orphaned rows
            for table, columns in snapshot.columns.items():
                connection.exec_driver_sql(f'DELETE FROM "{table}"')
                snapshot_postgres._fill(
                    connection, folder / f"{table}{snapshot_postgres.SUFFIX}", table, columns, snapshot.rows
                )
    finally:
        taking.close()
        giving.close()
        shutil.rmtree(folder)

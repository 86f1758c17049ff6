"""The audit of a store finds nothing in a sound one, and each kind of damage by its rule."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, text

from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.sql import open_database, open_store
from orchestrator.adapters.stores.sqlite import FILE_NAME, make_engine
from tests.support.backups import furnish, place_of

Target = str | Path

DAMAGES: dict[str, tuple[str, str]] = {
    "a segment is gone": (
        "DELETE FROM segments WHERE analysis_id = 'done' AND number = 1",
        "every log is gapless from 1",
    ),
    "the last segment is gone": (
        "DELETE FROM segments WHERE analysis_id = 'growing' AND number = 1",
        "every log is gapless from 1",
    ),
    "a position is skipped": (
        "UPDATE analyses SET last_sequence = last_sequence + 1 WHERE id = 'waiting'",
        "every log is gapless from 1",
    ),
    "the start is gone": ("UPDATE analyses SET started = NULL WHERE id = 'done'", "every log is gapless from 1"),
    "the end is gone": (
        "UPDATE analyses SET result = NULL WHERE id = 'done'",
        "a final event, and only with a final state",
    ),
    "an end without a state": (
        "UPDATE analyses SET failure = '{}' WHERE id = 'growing'",
        "a final event, and only with a final state",
    ),
    "nobody noted its end": (
        "DELETE FROM outcomes WHERE analysis_id = 'done'",
        "what became of an ended analysis is noted, and of no other",
    ),
    "an end that is another": (
        "UPDATE outcomes SET state = 'FAILED' WHERE analysis_id = 'done'",
        "what became of an ended analysis is noted, and of no other",
    ),
    "an end that has not come": (
        "UPDATE outcomes SET analysis_id = 'growing' WHERE analysis_id = 'done'",
        "what became of an ended analysis is noted, and of no other",
    ),
    "a gap in time": (
        "UPDATE segments SET start_pts = start_pts + 1 WHERE analysis_id = 'done' AND number = 1",
        "segments tile the media from frame 0",
    ),
    "frames twice": (
        "UPDATE segments SET start_frame = start_frame - 1 WHERE analysis_id = 'done' AND number = 2",
        "segments tile the media from frame 0",
    ),
    "the first frames are gone": (
        "UPDATE segments SET start_frame = 1 WHERE analysis_id = 'done' AND number = 0",
        "segments tile the media from frame 0",
    ),
    "two last segments": (
        "UPDATE segments SET final = TRUE WHERE number = 0",
        "the last segment of a success is final, and no other",
    ),
    "no last segment": (
        "UPDATE segments SET final = FALSE",
        "the last segment of a success is final, and no other",
    ),
    "an old checkpoint": (
        "UPDATE checkpoints SET segments = 1, next_frame = 10",
        "a checkpoint lies behind the last segment",
    ),
    "a checkpoint elsewhere": (
        "UPDATE checkpoints SET next_frame = next_frame + 1",
        "a checkpoint lies behind the last segment",
    ),
    "no checkpoint": ("DELETE FROM checkpoints", "a checkpoint lies behind the last segment"),
    "no memo": ("DELETE FROM memos", "a checkpoint lies behind the last segment"),
    "no lease": (
        "UPDATE analyses SET lease_owner = NULL WHERE id = 'growing'",
        "a running analysis has one lease, and no other has any",
    ),
    "a lease without an attempt": (
        "UPDATE analyses SET lease_token = 9 WHERE id = 'growing'",
        "a running analysis has one lease, and no other has any",
    ),
    "an attempt that never ends": (
        "UPDATE attempts SET end_us = NULL WHERE analysis_id = 'done'",
        "a running analysis has one lease, and no other has any",
    ),
    "a picture is cut off": (
        "UPDATE artifacts SET size = size + 1 WHERE kind = 'THUMBNAIL'",
        "an artifact is as long as it should be",
    ),
    "an older schema": ("UPDATE alembic_version SET version_num = '0000'", "every migration is there"),
    "annotations of nothing": (
        "DELETE FROM segments WHERE analysis_id = 'done' AND number = 1",
        "annotations belong to segments",
    ),
    "a step is gone": (
        "DELETE FROM model_rollout_steps WHERE revision = 2",
        "the steps of a rollout are gapless from 1",
    ),
    "the last step is gone": (
        "DELETE FROM model_rollout_steps WHERE revision = 5",
        "the steps of a rollout are gapless from 1",
    ),
    "every step is gone": ("DELETE FROM model_rollout_steps", "the steps of a rollout are gapless from 1"),
    "a version that no step made stable": (
        "UPDATE model_rollouts SET stable = 4",
        "a rollout stands where its last step led",
    ),
    "a candidate without a stage": (
        "UPDATE model_rollouts SET stage = NULL",
        "a candidate has a stage and is not the stable version",
    ),
    "a candidate that is stable": (
        "UPDATE model_rollouts SET candidate = stable",
        "a candidate has a stage and is not the stable version",
    ),
    "steps of nothing": ("DELETE FROM model_rollouts", "model_rollout_steps belong to model_rollouts"),
    "labels of nothing": ("DELETE FROM analyses WHERE id = 'waiting'", "labels belong to analyses"),
}


@pytest.fixture
async def database(store_target: Target, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_store(store_target) as store:
        await furnish(store, place_of(store_target, tmp_path / "place"))
    database = open_database(store_target)
    yield database
    database.close()


def test_a_sound_store_and_each_damage(database: Database) -> None:
    findings = database.read_now(audit)
    assert [finding for finding in findings if finding.count] == []
    assert {rule for _, rule in DAMAGES.values()} <= {finding.rule for finding in findings}
    for damage, (statement, rule) in DAMAGES.items():
        with damaged(database, statement) as connection:
            found = {finding.rule: finding for finding in audit(connection)}
            assert found[rule].count, damage
            assert found[rule].who, damage


@contextmanager
def damaged(database: Database, statement: str) -> Iterator[Connection]:
    """A transaction in which ``statement`` was done behind the back of every reference; it is rolled back."""
    with database.writing.connect() as connection:
        if connection.dialect.name == "sqlite":
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA foreign_keys=OFF")
        transaction = connection.begin()
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.execute(text(statement))
        yield connection
        transaction.rollback()


def test_a_torn_file(sqlite_dir: Path) -> None:
    """A page of a database overwritten, as by a bad disk."""
    file = sqlite_dir / FILE_NAME
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_labels_name_value'"
        [page] = connection.execute(query).fetchone()
    with file.open("r+b") as writing:
        writing.seek((page - 1) * 4096)
        writing.write(bytes(4096))
    engine = make_engine(URL.create("sqlite", database=str(file)), 1, "BEGIN", "query_only=ON")
    with engine.connect() as connection:
        sound = audit(connection)[0]
    engine.dispose()
    assert sound.rule == "the database is sound"
    assert sound.count

"""Stores for the tests of backup and clean-up: what is in one, and the places of its parts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import insert, inspect, text

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.stores.backup import Place
from orchestrator.adapters.stores.operations import SqlOperations
from orchestrator.adapters.stores.rollouts import SqlRollouts
from orchestrator.adapters.stores.schema import artifacts
from orchestrator.adapters.stores.snapshot_postgres import PostgresSnapshots
from orchestrator.adapters.stores.snapshot_sqlite import SqliteSnapshots
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_database
from orchestrator.core.jobs import AnalysisSpec, AnalysisState, SourceKind, SourceRef, UploadState
from orchestrator.core.statistics import Sample
from orchestrator.ports import AnalysisStore
from tests.support.operations_store import THEN, alert, silence
from tests.support.rollouts import ROLLOUT, roll_out
from tests.support.store_values import FINISHED, PATH, checkpoint, running, segment

REPORT = "reports/done/report.html"
BYTES = bytes(range(256)) * 300  # of the upload "growing"; 50,000 of them are committed
COMMITTED = 50_000

Rows = dict[str, list[tuple[Any, ...]]]


def place_of(target: str | Path, folder: Path) -> Place:
    """The store of ``target`` with blobs and uploads in ``folder``."""
    database = SqliteSnapshots(target) if isinstance(target, Path) else PostgresSnapshots(target)
    return Place(database, LocalBlobs(folder / "blobs"), folder / "uploads")


def upload_spec(name: str) -> AnalysisSpec:
    """An analysis of an upload."""
    return AnalysisSpec(SourceRef(SourceKind.UPLOAD, name, None), labels=(("a", "b"),))


async def succeed(store: AnalysisStore, name: str, asked: AnalysisSpec = PATH, segments: int = 1) -> None:
    """A new analysis that succeeded, with so many segments."""
    lease = await running(store, name, asked, segments - 1)
    await store.commit_segment(lease, segment(segments - 1, final=True), checkpoint(segments - 1))
    await store.end(lease, replace(FINISHED, segments=segments), AnalysisState.SUCCEEDED)


async def furnish(store: SqlAnalysisStore, place: Place) -> None:
    """Analyses in every stage: done (with a report), running on an upload that grows, waiting for one, and one that is done with its
    upload. And a model whose second version was promoted, and whose third is on trial; alerts, a silence, and a sample."""
    await succeed(store, "done", segments=3)
    await place.blobs.put(REPORT, b"<html>")
    row = {"key": REPORT, "analysis_id": "done", "kind": "REPORT", "size": 6, "create_us": 1}
    await store.write(lambda sql: sql.execute(insert(artifacts).values(row)))
    await running(store, "growing", upload_spec("growing"), segments=2)
    await store.set_upload("growing", UploadState(COMMITTED, False))
    await store.create("waiting", upload_spec("waiting"), limit=100)
    await succeed(store, "uploaded", upload_spec("uploaded"))
    place.uploads.mkdir(parents=True)
    (place.uploads / "growing").write_bytes(BYTES)
    (place.uploads / "uploaded").write_bytes(b"old")
    await roll_out(SqlRollouts(store.database), ROLLOUT)
    operations = SqlOperations(store.database)
    await operations.keep([alert(), alert("over", component="queue", resolved=THEN, notified=True)])
    await operations.silence(silence())
    await operations.add(Sample("here", THEN, {"cpu_ratio": 0.5, "disk_free_bytes/data": 1e12}))


def contents(target: str | Path) -> Rows:
    """Every row of every table."""
    database = open_database(target)
    try:
        with database.reading.begin() as connection:
            return {
                name: sorted(map(tuple, connection.execute(text(f'SELECT * FROM "{name}"'))), key=repr)
                for name in inspect(connection).get_table_names()
            }
    finally:
        database.close()


def destroy(target: str | Path, place: Place) -> None:
    """Lose everything: the database's tables, blobs and uploads."""
    if isinstance(target, Path):
        shutil.rmtree(target)
    else:
        database = open_database(target)
        with database.writing.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        database.close()
    assert isinstance(place.blobs, LocalBlobs)
    shutil.rmtree(place.blobs.path("x").parent, ignore_errors=True)
    shutil.rmtree(place.uploads, ignore_errors=True)

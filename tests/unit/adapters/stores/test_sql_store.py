"""What the store on SQL offers besides its port: hooks, thumbnails in rows, models named once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, RowMapping, delete, insert, select

from orchestrator.adapters.stores import requests
from orchestrator.adapters.stores.schema import artifacts, labels, model_versions
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.core.results import ModelVersion, Segment
from orchestrator.errors import InternalError
from tests.support.store_values import JPEG, LABELS, SHOTS, checkpoint, running, segment, spec


@pytest.fixture
async def store(store_target: str | Path) -> AsyncIterator[SqlAnalysisStore]:
    async with open_store(store_target) as opened:
        yield opened


async def test_an_indexer_writes_in_the_transaction_that_commits_the_segment(store_target: str | Path) -> None:
    def index(sql: Connection, row: RowMapping, closed: Segment) -> None:
        name = f"{row['tenant']} {closed.index}"
        sql.execute(insert(labels).values(analysis_id=row["id"], name=name, value=""))
        if closed.index == 1:
            raise InternalError("no index")

    async with open_store(store_target, indexers=[index]) as store:
        lease = await running(store, "one", spec(tenant="t"), segments=1)
        with pytest.raises(InternalError, match="no index"):
            await store.commit_segment(lease, segment(1), checkpoint(1))
        assert await store.segments("one") == [segment(0)]
        assert await store.run(lambda sql: sql.execute(select(labels.c.name)).scalars().all()) == ["t 0"]


async def test_a_thumbnail_is_an_artifact_and_may_be_let_go(store: SqlAnalysisStore) -> None:
    await running(store, segments=2)
    columns = (artifacts.c.key, artifacts.c.kind, artifacts.c.size, artifacts.c.segment)
    rows = await store.run(lambda sql: [tuple(row) for row in sql.execute(select(*columns).order_by(artifacts.c.key))])
    assert rows == [(f"thumbnails/one/{number:06d}.jpg", "THUMBNAIL", len(JPEG), number) for number in range(2)]
    await store.write(lambda sql: sql.execute(delete(artifacts).where(artifacts.c.segment == 0)) and None)
    assert await store.segments("one") == [replace(segment(0), thumbnail=None), segment(1)]


async def test_a_segment_without_annotations_or_thumbnail_comes_back(store: SqlAnalysisStore) -> None:
    lease = await running(store)
    bare = replace(segment(0), annotations=(), thumbnail=None)
    await store.commit_segment(lease, bare, checkpoint(0))
    assert await store.segments("one") == [bare]


async def test_a_model_version_is_put_down_once(store: SqlAnalysisStore) -> None:
    lease = await running(store, segments=3)
    newer = ModelVersion("labels", "2", "c" * 64)
    said = replace(segment(3).annotations[0], models=(newer, SHOTS, newer))
    await store.commit_segment(lease, replace(segment(3), annotations=(said,)), checkpoint(3))
    assert (await store.segments("one", 3))[0].annotations == (said,)
    columns = (model_versions.c.name, model_versions.c.version, model_versions.c.digest)
    rows = await store.run(lambda sql: [ModelVersion(*row) for row in sql.execute(select(*columns))])
    assert sorted(rows, key=str) == sorted((LABELS, SHOTS, newer), key=str)


async def test_an_analysis_is_as_old_as_its_place_in_the_queue_of_creations(postgres_url: str) -> None:
    read = 0

    def clock() -> datetime:
        nonlocal read
        read += 1
        return datetime.now(UTC)

    async with open_store(postgres_url, clock=clock) as store:
        with psycopg.connect(postgres_url) as other:  # it creates one, and takes its time
            other.execute("SELECT pg_advisory_xact_lock(%s)", (requests._CREATE_LOCK,))
            creating = asyncio.create_task(store.create("one", spec(), limit=9))
            await asyncio.sleep(0.3)
            assert not creating.done()
            assert read == 0
            other.rollback()
            await creating
    assert read == 1

"""A clean-up on real databases: what is let go is gone everywhere, and the rest is untouched."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.backup import Place
from orchestrator.adapters.stores.beside import open_beside
from orchestrator.adapters.stores.keeping import SqlPast
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.adapters.stores.sqlite import FILE_NAME
from orchestrator.core.jobs import UploadState
from orchestrator.core.retention import Kind, Policies, Policy, Reason, Removal
from orchestrator.errors import AnalysisNotEnded, NotFound, StoreUnavailable
from orchestrator.pipeline.cleanup import Cleaner
from tests.support.backups import REPORT, contents, furnish, place_of, succeed, upload_spec
from tests.support.store_values import JPEG

Target = str | Path
NOW = Policy(max_age=timedelta())
"""Nothing that may go stays."""


@pytest.fixture
def place(store_target: Target, tmp_path: Path) -> Place:
    return place_of(store_target, tmp_path / "place")


@pytest.fixture
async def store(store_target: Target, place: Place) -> AsyncIterator[SqlAnalysisStore]:
    async with open_store(store_target) as opened:
        await furnish(opened, place)
        yield opened


def cleaner(store: SqlAnalysisStore, place: Place, policies: Policies | None = None) -> Cleaner:
    return Cleaner(store, SqlPast(store.database), place.blobs, LocalBlobs(place.uploads), policies or {})


def brief(removals: tuple[Removal, ...]) -> set[tuple[Kind, str, Reason]]:
    return {(removal.kind, removal.name, removal.reason) for removal in removals}


async def test_without_policies_nothing_goes(store: SqlAnalysisStore, place: Place) -> None:
    assert (await cleaner(store, place).clean()).removed == ()


async def test_uploads_of_ended_analyses_go(store: SqlAnalysisStore, place: Place) -> None:
    cleaned = await cleaner(store, place, {Kind.UPLOADS: NOW}).clean()
    assert brief(cleaned.removed) == {(Kind.UPLOADS, "uploaded", Reason.AGE)}
    assert cleaned.size == 3
    assert [file.name for file in place.uploads.iterdir()] == ["growing"]
    assert (await store.get("uploaded")).segments == 1


async def test_thumbnails_go_and_segments_stay(store: SqlAnalysisStore, place: Place) -> None:
    before = await store.segments("done")
    cleaned = await cleaner(store, place, {Kind.THUMBNAILS: NOW, Kind.REPORTS: NOW}).clean()
    assert brief(cleaned.removed) == {
        (Kind.THUMBNAILS, "done", Reason.AGE),
        (Kind.THUMBNAILS, "uploaded", Reason.AGE),
        (Kind.REPORTS, "done", Reason.AGE),
    }
    assert cleaned.size == 4 * len(JPEG) + len(b"<html>")
    assert [segment.thumbnail for segment in await store.segments("done")] == [None] * 3
    assert [segment.annotations for segment in await store.segments("done")] == [each.annotations for each in before]
    assert all(segment.thumbnail for segment in await store.segments("growing"))
    with pytest.raises(NotFound):
        await place.blobs.get(REPORT)
    assert [finding for finding in await store.run(audit) if finding.count] == []


async def test_analyses_go_with_all_of_theirs(store: SqlAnalysisStore, place: Place) -> None:
    cleaned = await cleaner(store, place, {Kind.ANALYSES: NOW}).clean()
    assert {removal.name for removal in cleaned.removed if removal.kind is Kind.ANALYSES} == {"done", "uploaded"}
    assert [file.name for file in place.uploads.iterdir()] == ["growing"]
    assert [info.key async for info in place.blobs.list()] == []
    assert (await store.get("growing")).segments == 2
    assert [finding for finding in await store.run(audit) if finding.count] == []


async def test_by_bytes_only_the_oldest_go(store: SqlAnalysisStore, place: Place) -> None:
    total = 6 * len(JPEG)  # of done, growing and uploaded
    policies = {Kind.THUMBNAILS: Policy(max_bytes=total - 1)}
    assert brief((await cleaner(store, place, policies).clean()).removed) == {(Kind.THUMBNAILS, "done", Reason.BYTES)}


async def test_a_dry_run_changes_nothing(
    store: SqlAnalysisStore, store_target: Target, place: Place, tmp_path: Path
) -> None:
    policies = dict.fromkeys(Kind, NOW)
    async with open_beside(store_target) as looking:  # while the other has it open
        would = await cleaner(looking, place, policies).clean(dry_run=True)
        with pytest.raises(StoreUnavailable):
            await looking.delete("done")
    assert len(would.removed) == 6
    assert (await store.get("done")).segments == 3
    assert sorted(file.name for file in place.uploads.iterdir()) == ["growing", "uploaded"]
    assert brief((await cleaner(store, place, policies).clean()).removed) == brief(would.removed)


async def test_what_nothing_names_goes_after_an_hour(store: SqlAnalysisStore, place: Place) -> None:
    await place.blobs.put("thumbnails/deleted/000000.jpg", b"1")
    await place.blobs.put("thumbnails/new/000000.jpg", b"1")
    for name in ("old", "young"):
        (place.uploads / name).write_bytes(b"123")
    assert isinstance(place.blobs, LocalBlobs)
    for path in (place.blobs.path("thumbnails/deleted/000000.jpg"), place.uploads / "old"):
        os.utime(path, (0, 0))
    assert brief((await cleaner(store, place).clean()).removed) == {
        (Kind.THUMBNAILS, "deleted", Reason.ORPHAN),
        (Kind.UPLOADS, "old", Reason.ORPHAN),
    }
    assert [info.key async for info in place.blobs.list()] == [REPORT, "thumbnails/new/000000.jpg"]
    assert sorted(file.name for file in place.uploads.iterdir()) == ["growing", "uploaded", "young"]


class Late(Cleaner):
    """Something happens between the look and the removal."""

    async def look(self, now: object = None) -> list[Removal]:
        removals = await super().look()
        await self.store.create("retry", upload_spec("uploaded"), limit=100)
        await self.store.set_upload("retry", UploadState(3, True))
        await self.store.delete("done")
        return removals


async def test_what_came_into_use_meanwhile_stays(store: SqlAnalysisStore, place: Place) -> None:
    late = Late(
        store,
        SqlPast(store.database),
        place.blobs,
        LocalBlobs(place.uploads),
        {Kind.UPLOADS: NOW, Kind.ANALYSES: NOW},
    )
    cleaned = await late.clean()
    assert [(removal.kind, reason) for removal, reason in cleaned.kept] == [(Kind.UPLOADS, AnalysisNotEnded.reason)]
    assert (place.uploads / "uploaded").read_bytes() == b"old"


class Unruly(LocalBlobs):
    """Uploads of which one cannot be removed."""

    async def delete(self, key: str) -> None:
        if key == "bad":
            raise PermissionError(errno.EACCES, "refused")
        await super().delete(key)


async def test_what_cannot_be_removed_holds_up_nothing_else(store: SqlAnalysisStore, place: Place) -> None:
    for name in ("another", "bad", "common"):
        (place.uploads / name).touch()
        os.utime(place.uploads / name, (0, 0))
    unruly = Cleaner(store, SqlPast(store.database), place.blobs, Unruly(place.uploads))
    cleaning = asyncio.create_task(unruly.run(every=0.01))
    while (place.uploads / "common").exists():
        await asyncio.sleep(0.01)
    assert not cleaning.done()
    cleaning.cancel()
    [(removal, reason)] = (await unruly.clean()).kept
    assert (removal.name, reason) == ("bad", "EACCES")


async def test_artifacts_of_a_running_analysis_cannot_be_dropped(store: SqlAnalysisStore) -> None:
    with pytest.raises(AnalysisNotEnded):
        await SqlPast(store.database).drop(Kind.THUMBNAILS, "growing")


async def test_room_inside_the_database_goes_back_to_the_disk(sqlite_dir: Path, tmp_path: Path) -> None:
    place = place_of(sqlite_dir, tmp_path)
    async with open_store(sqlite_dir) as store:
        for number in range(10):
            await succeed(store, f"a-{number}", segments=20)
        full = (sqlite_dir / FILE_NAME).stat().st_size
        await cleaner(store, place, {Kind.ANALYSES: NOW}).clean()
        assert (await store.run(lambda sql: sql.execute(text("PRAGMA freelist_count")))).scalar() == 0
    assert (sqlite_dir / FILE_NAME).stat().st_size < full / 2
    assert contents(sqlite_dir)["analyses"] == []

"""What backup and restore promise, whatever the database."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.search.writing import index_segment
from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.backup import Place, back_up, checked, restore
from orchestrator.adapters.stores.manifest import NAME, Manifest
from orchestrator.adapters.stores.migrate import upgrade
from orchestrator.adapters.stores.postgres import open_postgres
from orchestrator.adapters.stores.rollouts import SqlRollouts
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_database, open_store
from orchestrator.adapters.stores.sqlite import open_sqlite
from orchestrator.core.jobs import AnalysisFilter, AnalysisState
from orchestrator.errors import NotFound, SetupError
from tests.support.backups import BYTES, COMMITTED, REPORT, contents, destroy, furnish, place_of, succeed
from tests.support.older import copy_known
from tests.support.rollouts import ROLLOUT, roll_out
from tests.support.store_values import FAILED, PATH, checkpoint, segment

Target = str | Path


@pytest.fixture
def place(store_target: Target, tmp_path: Path) -> Place:
    return place_of(store_target, tmp_path / "place")


@pytest.fixture
async def folder(store_target: Target, place: Place, tmp_path: Path) -> Path:
    """A backup of a furnished store."""
    async with open_store(store_target, indexers=(index_segment,)) as store:
        await furnish(store, place)
        manifest = await back_up(place, tmp_path / "backup")  # while it is open
    assert manifest.missing == ()
    return tmp_path / "backup"


async def test_all_is_back_after_the_original_was_lost(store_target: Target, place: Place, folder: Path) -> None:
    before = contents(store_target)
    destroy(store_target, place)
    manifest = await restore(place, folder)
    assert contents(store_target) == before
    assert {name: len(rows) for name, rows in before.items() if name in manifest.rows} == {
        name: count for name, count in manifest.rows.items() if name in before
    }
    assert await place.blobs.get(REPORT) == b"<html>"
    assert (place.uploads / "growing").read_bytes() == BYTES[:COMMITTED]  # what was acknowledged
    assert [file.name for file in place.uploads.iterdir()] == ["growing"]  # the one that somebody still has to read


async def test_a_restored_store_goes_on(store_target: Target, place: Place, folder: Path) -> None:
    destroy(store_target, place)
    await restore(place, folder)
    async with open_store(store_target) as store:
        assert [finding for finding in await store.run(audit) if finding.count] == []
        [lease] = await store.leases()
        await store.commit_segment(lease, segment(2), checkpoint(2))
        await store.end(lease, FAILED, AnalysisState.FAILED)
        await succeed(store, "new")
        assert [finding for finding in await store.run(audit) if finding.count] == []
        page = await store.list(AnalysisFilter(), 10)
        assert {record.id for record in page.records} == {"done", "growing", "waiting", "uploaded", "new"}


async def test_damage_is_refused_by_name(store_target: Target, place: Place, folder: Path) -> None:
    before = contents(store_target)
    manifest = Manifest.read(folder)
    files = [NAME, *manifest.files]
    assert {path.partition("/")[0] for path in manifest.files} == {"database", "blobs", "uploads"}
    for path in files:
        file = folder / path
        whole = file.read_bytes()
        for damaged in _damages(whole):
            file.write_bytes(damaged)
            with pytest.raises(SetupError, match=path) as caught:
                await restore(place, folder, force=True)
            assert caught.value.detail["file"] == path
        file.unlink()
        with pytest.raises(SetupError, match=path):
            await restore(place, folder, force=True)
        file.write_bytes(whole)
    assert contents(store_target) == before  # nothing was touched
    await restore(place, folder, force=True)


def _damages(whole: bytes) -> list[bytes]:
    """One bit at the start, in the middle and at the end; a byte too few, and one too many."""
    if not whole:
        return [b"x"]
    flipped = []
    for at in {0, len(whole) // 2, len(whole) - 1}:
        changed = bytearray(whole)
        changed[at] ^= 1
        flipped.append(bytes(changed))
    return [*flipped, whole[:-1], whole + b"x"]


async def test_a_store_that_holds_something_is_not_overwritten(
    store_target: Target, place: Place, folder: Path
) -> None:
    async with open_store(store_target) as store:
        await succeed(store, "since")
    with pytest.raises(SetupError, match="--force"):
        await restore(place, folder)
    async with open_store(store_target) as store:
        assert (await store.get("since")).segments == 1
    await restore(place, folder, force=True)
    async with open_store(store_target) as store:
        with pytest.raises(NotFound):
            await store.get("since")
        assert (await store.get("done")).segments == 3


async def test_a_store_with_rollouts_alone_is_not_overwritten(store_target: Target, place: Place, folder: Path) -> None:
    destroy(store_target, place)
    async with open_store(store_target) as store:
        await roll_out(SqlRollouts(store.database), ROLLOUT[:1])
    with pytest.raises(SetupError, match="--force"):
        await restore(place, folder)
    await restore(place, folder, force=True)
    async with open_store(store_target) as store:
        assert await SqlRollouts(store.database).rollouts() == {"labels": ROLLOUT[-1]}


async def test_a_store_in_use_is_not_overwritten(store_target: Target, place: Place, folder: Path) -> None:
    async with open_store(store_target) as store:
        await store.get("done")
        for force in (False, True):
            with pytest.raises(SetupError, match="reelsift"):
                await restore(place, folder, force=force)
        assert (await store.get("done")).segments == 3


async def test_restoring_into_another_place(
    request: pytest.FixtureRequest, store_target: Target, folder: Path, tmp_path: Path
) -> None:
    if isinstance(store_target, Path):
        other: Target = tmp_path / "not" / "yet"
    else:
        postgres = request.getfixturevalue("postgres")
        other = postgres.url(postgres.create())  # without any table
    await restore(place_of(other, tmp_path / "elsewhere"), folder)
    assert contents(other) == contents(store_target)


async def test_a_backup_of_an_older_version(
    request: pytest.FixtureRequest, store_target: Target, place: Place, tmp_path: Path
) -> None:
    if isinstance(store_target, Path):
        old: Target = tmp_path / "old"
        database = open_sqlite(tmp_path / "old")
    else:
        postgres = request.getfixturevalue("postgres")
        old = postgres.url(postgres.create())
        database = open_postgres(old)
    upgrade(database, "0001")
    today = open_database(tmp_path / "today")
    await SqlAnalysisStore(today).create("old", PATH, limit=10)
    copy_known(today, database)
    for each in (today, database):
        each.close()
    manifest = await back_up(place_of(old, tmp_path / "elsewhere"), tmp_path / "backup")
    assert manifest.revision == "0001"
    await restore(place, tmp_path / "backup")
    async with open_store(store_target) as store:  # which migrates it
        assert (await store.get("old")).spec == PATH
        await succeed(store, "new")
        assert [finding for finding in await store.run(audit) if finding.count] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"revision": "9999"}, "newer version"),
        ({"backend": "oracle"}, "oracle"),
    ],
)
async def test_what_this_version_cannot_restore(
    store_target: Target, place: Place, folder: Path, change: dict[str, str], says: str
) -> None:
    before = contents(store_target)
    manifest = dataclasses.replace(Manifest.read(folder), **change)  # type: ignore[arg-type]
    (folder / NAME).write_bytes(manifest.to_bytes())
    with pytest.raises(SetupError, match=says):
        await restore(place, folder, force=True)
    assert contents(store_target) == before


async def test_a_backup_of_a_format_to_come(place: Place, folder: Path) -> None:
    body = json.loads((folder / NAME).read_bytes())
    (folder / NAME).write_text(json.dumps({**body, "format": 2, "news": []}))
    with pytest.raises(SetupError, match="format 2"):
        await restore(place, folder)


async def test_an_interrupted_backup_is_none(place: Place, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "half", ignore=shutil.ignore_patterns(NAME))
    with pytest.raises(SetupError, match="no complete backup"):
        await restore(place, tmp_path / "half", force=True)


async def test_a_folder_that_holds_something_is_left_alone(place: Place, folder: Path) -> None:
    with pytest.raises(SetupError, match="not empty"):
        await back_up(place, folder)
    checked(folder)


class Leaving(LocalBlobs):
    """Blobs among which one goes as soon as a backup asks for it."""

    def __init__(self, root: Path, leave: Callable[[], object]) -> None:
        super().__init__(root)
        self.leave = leave

    async def get(self, key: str) -> bytes:
        if key == REPORT:
            await self.delete(key)
            result = self.leave()
            if result is not None:
                await result  # type: ignore[misc]
        return await super().get(key)


async def test_what_is_deleted_meanwhile_is_not_missed(store_target: Target, place: Place, tmp_path: Path) -> None:
    async with open_store(store_target) as store:
        await furnish(store, place)

        async def forget() -> None:
            await store.delete("done")

        blobs = Leaving(tmp_path / "place" / "blobs", forget)
        manifest = await back_up(dataclasses.replace(place, blobs=blobs), tmp_path / "backup")
    assert manifest.missing == ()
    assert f"blobs/{REPORT}" not in manifest.files
    assert manifest.rows["analyses"] == 3  # a snapshot of later


async def test_what_is_missing_for_good_is_said(store_target: Target, place: Place, tmp_path: Path) -> None:
    async with open_store(store_target) as store:
        await furnish(store, place)
    await place.blobs.put(REPORT, b"cut")
    (place.uploads / "growing").write_bytes(BYTES[: COMMITTED - 1])
    manifest = await back_up(place, tmp_path / "backup")
    assert manifest.missing == (f"blobs/{REPORT}", "uploads/growing")
    destroy(store_target, place)
    assert (await restore(place, tmp_path / "backup")).missing == manifest.missing

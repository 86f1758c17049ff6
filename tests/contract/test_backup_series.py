"""A series of backups: one is added, old ones go, and never the newest that is good. On both databases."""

from __future__ import annotations

import asyncio
import fcntl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.search.writing import index_segment
from orchestrator.adapters.stores import series
from orchestrator.adapters.stores.backup import Place, restore
from orchestrator.adapters.stores.manifest import NAME, Manifest
from orchestrator.adapters.stores.series import Keep
from orchestrator.adapters.stores.sql import open_store
from orchestrator.errors import SetupError
from tests.support.backups import REPORT, contents, destroy, furnish, place_of

Target = str | Path
YEAR = timedelta(days=365)


@pytest.fixture
async def place(store_target: Target, tmp_path: Path) -> Place:
    """A furnished store."""
    place = place_of(store_target, tmp_path / "place")
    async with open_store(store_target, indexers=(index_segment,)) as store:
        await furnish(store, place)
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


async def add(place: Place, folder: Path, keep: Keep, age: timedelta = timedelta()) -> Path:
    """One more; then it is made so much older."""
    added = await series.add(place, folder, keep)
    made = added.folder
    if age:
        name = (datetime.now(UTC) - age).strftime("%Y%m%dT%H%M%SZ")
        made = made.rename(folder / name)
    return made


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir() if each.is_dir()}


def spoil(backup: Path) -> Path:
    """Change a byte of a backup's database."""
    file = next(each for each in (backup / "database").iterdir() if each.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return backup


async def test_the_newest_stay_and_any_of_them_can_be_restored(
    store_target: Target, place: Place, folder: Path
) -> None:
    before = contents(store_target)
    made = [await add(place, folder, Keep(3), timedelta(days=9 - day)) for day in range(5)]
    (folder / "by hand").mkdir()
    (folder / "20260101T000000Z.txt").write_text("not ours")
    newest = await series.add(place, folder, Keep(3))
    assert newest.gone == (made[2].name,)  # the two before went when the others came
    assert names(folder) == {made[3].name, made[4].name, newest.folder.name, "by hand"}
    found = series.newest(folder)
    assert found == newest.manifest
    for backup in (made[3], newest.folder):
        destroy(store_target, place)
        await restore(place, backup)
        assert contents(store_target) == before


async def test_what_is_young_stays_whatever_the_number(place: Place, folder: Path) -> None:
    old = await add(place, folder, Keep(1), timedelta(days=40))
    young = await add(place, folder, Keep(9), timedelta(days=20))
    added = await series.add(place, folder, Keep(1, timedelta(days=30)))
    assert added.gone == (old.name,)
    assert names(folder) == {young.name, added.folder.name}


async def test_one_that_lacks_something_makes_no_good_one_go(place: Place, folder: Path) -> None:
    first = await add(place, folder, Keep(2), timedelta(days=3))
    good = await add(place, folder, Keep(2), timedelta(days=2))
    await place.blobs.delete(REPORT)
    for day in (1, 0):
        lacking = await add(place, folder, Keep(1), timedelta(days=day))
        assert good.name in names(folder)
        assert lacking.name in names(folder)
    assert first.name not in names(folder)  # behind one that was read back: Keep(1)
    assert series.newest(folder) == Manifest.read(good)


async def test_a_damaged_one_is_not_relied_on(place: Place, folder: Path) -> None:
    good = await add(place, folder, Keep(9), timedelta(days=3))
    damaged = spoil(await add(place, folder, Keep(9), timedelta(days=2)))
    await place.blobs.delete(REPORT)
    added = await series.add(place, folder, Keep(1))
    assert added.gone == ()
    assert names(folder) == {good.name, damaged.name, added.folder.name}
    assert series.newest(folder) == Manifest.read(good)


async def test_where_none_can_be_relied_on_nothing_goes(place: Place, folder: Path) -> None:
    damaged = spoil(await add(place, folder, Keep(9), timedelta(days=2)))
    await place.blobs.delete(REPORT)
    added = await series.add(place, folder, Keep(1))
    assert names(folder) == {damaged.name, added.folder.name}
    assert series.newest(folder) is None


async def test_what_was_interrupted_goes_behind_a_good_one(place: Place, folder: Path) -> None:
    half = await add(place, folder, Keep(9), timedelta(days=1))
    (half / NAME).unlink()
    added = await series.add(place, folder, Keep(9, YEAR))
    assert added.gone == (half.name,)


async def test_a_clock_that_went_back_does_not_let_the_new_one_go(place: Place, folder: Path) -> None:
    ahead = await add(place, folder, Keep(9), -YEAR)
    added = await series.add(place, folder, Keep(1))
    assert names(folder) == {ahead.name, added.folder.name}


async def test_what_cannot_be_read_back_is_no_backup(
    place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await add(place, folder, Keep(1), timedelta(days=1))
    made = series.back_up

    async def onto_a_bad_disk(place: Place, new: Path) -> Manifest:
        manifest = await made(place, new)
        spoil(new)
        return manifest

    monkeypatch.setattr(series, "back_up", onto_a_bad_disk)
    with pytest.raises(SetupError, match="damaged"):
        await series.add(place, folder, Keep(1))
    assert series.newest(folder) == Manifest.read(old)
    (bad,) = names(folder) - {old.name}
    with pytest.raises(SetupError, match="no complete backup"):
        await restore(place, folder / bad, force=True)


async def test_one_at_a_time(place: Place, folder: Path) -> None:
    await series.add(place, folder, Keep(9))
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SetupError, match="another backup"):
            await series.add(place, folder, Keep(9))
    await asyncio.sleep(1)  # a backup a second, by their names
    await series.add(place, folder, Keep(9))


def test_there_is_none_yet(tmp_path: Path) -> None:
    assert series.newest(tmp_path / "missing") is None
    with pytest.raises(ValueError, match="at least one"):
        Keep(0)

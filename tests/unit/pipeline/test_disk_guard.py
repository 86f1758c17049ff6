"""A full disk refuses and pauses; room lets everything go on by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.errors import DiskFull
from orchestrator.pipeline.disk import DiskGuard, free_bytes

LOW, HIGH = 100, 200
HERE = Path("here")


class Disk:
    """Disks whose room a test sets."""

    def __init__(self) -> None:
        self.room = {HERE: 1000}

    def free(self, folder: Path) -> int:
        return self.room[folder]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def guard(disk: Disk) -> DiskGuard:
    return DiskGuard([HERE], low=LOW, high=HIGH, every=0.001, free=disk.free)


def test_full_below_low_until_above_high(disk: Disk, guard: DiskGuard) -> None:
    seen = []
    for room in (1000, 150, 100, 99, 100, 150, 199, 200, 150, 100, 0, 1000):
        disk.room[HERE] = room
        seen.append(guard.full)
    assert seen == [False, False, False, True, True, True, True, False, False, False, True, False]


def test_check_refuses_with_an_error_to_come_again(disk: Disk, guard: DiskGuard) -> None:
    guard.check()
    disk.room[HERE] = LOW - 1
    with pytest.raises(DiskFull) as caught:
        guard.check()
    assert caught.value.retryable
    assert caught.value.grpc_code == "RESOURCE_EXHAUSTED"


def test_the_fullest_disk_counts(disk: Disk) -> None:
    there = Path("there")
    disk.room[there] = 50
    assert DiskGuard([HERE, there], low=LOW, high=HIGH, free=disk.free).full


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (-1, 1)])
def test_bounds_that_make_no_sense(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="low < high"):
        DiskGuard([HERE], low=low, high=high)


async def test_who_waits_goes_on_by_itself(disk: Disk, guard: DiskGuard) -> None:
    await asyncio.wait_for(guard.wait_for_room(), 1)
    disk.room[HERE] = 0
    waiting = [asyncio.create_task(guard.wait_for_room()) for _ in range(3)]
    await asyncio.sleep(0)
    disk.room[HERE] = HIGH - 1  # not enough yet
    await asyncio.sleep(0.02)
    assert not any(task.done() for task in waiting)
    disk.room[HERE] = HIGH
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_a_write_waits_and_is_repeated(disk: Disk, guard: DiskGuard) -> None:
    tries: list[int] = []

    async def write() -> str:
        tries.append(disk.room[HERE])
        if len(tries) < 3:
            raise DiskFull("no room")
        return "written"

    disk.room[HERE] = 0
    writing = asyncio.create_task(guard.through(write))
    await asyncio.sleep(0.02)
    assert tries == []  # not even tried
    disk.room[HERE] = 1000
    assert await asyncio.wait_for(writing, 5) == "written"
    assert len(tries) == 3


async def test_other_errors_pass(guard: DiskGuard) -> None:
    async def write() -> None:
        raise ValueError("another")

    with pytest.raises(ValueError, match="another"):
        await guard.through(write)


async def test_who_waits_can_be_cancelled(disk: Disk, guard: DiskGuard) -> None:
    disk.room[HERE] = 0
    waiting = asyncio.create_task(guard.wait_for_room())
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_free_bytes_of_a_folder_that_is_not_made_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0

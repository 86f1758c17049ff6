"""Slots of shared memory: held, shared, pinned, revoked, and always home again."""

import asyncio
import mmap
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.adapters.frames import shm
from orchestrator.adapters.frames.allocator import PAGE
from orchestrator.adapters.frames.arena import Arena, ArenaSlot


@pytest.fixture
def arena() -> Iterator[Arena]:
    with Arena(8 * PAGE) as made:
        yield made


def take(arena: Arena, nbytes: int, owner: str | None = None) -> ArenaSlot:
    slot = arena.try_allocate(nbytes, owner)
    assert slot is not None
    return slot


def test_a_slot_is_seen_by_another_process(arena: Arena):
    take(arena, PAGE)
    slot = take(arena, 100)
    slot.array((2, 3), "int16")[...] = [[1, 2, 3], [4, 5, 6]]
    look = f"import mmap,sys; m=mmap.mmap({slot.fd},{PAGE},offset={slot.offset}); "
    script = look + "sys.stdout.write(m[:12].hex()); m[:1]=b'\\x09'"
    seen = subprocess.run(
        [sys.executable, "-c", script], pass_fds=[slot.fd], capture_output=True, text=True, check=True
    )
    assert bytes.fromhex(seen.stdout) == np.arange(1, 7, dtype=np.int16).tobytes()
    assert slot.array((1,), "uint8")[0] == 9


def test_a_slot_returns_with_its_last_holder(arena: Arena):
    slot = take(arena, PAGE)
    slot.part(16, 32).retain()
    slot.release()
    assert arena.in_use == PAGE
    slot.release()
    assert (arena.in_use, arena.slots_in_use) == (0, 0)
    for use in (slot.release, slot.retain, slot.pin, lambda: slot.array((1,))):
        with pytest.raises(ValueError, match=r"returned|released"):
            use()


def test_views_and_parts_stay_inside(arena: Arena):
    slot = take(arena, 100)
    part = slot.part(90, 10)
    part.array((10,))[...] = 7
    assert slot.array((10,), offset=90).tolist() == [7] * 10
    for bad in (lambda: slot.part(91, 10), lambda: slot.array((101,)), lambda: part.array((5,), "uint16", 2)):
        with pytest.raises(ValueError):
            bad()


def test_a_dead_owner_loses_all_but_pinned_slots(arena: Arena):
    pinned, plain, other = take(arena, PAGE, "a"), take(arena, PAGE, "a"), take(arena, PAGE, "b")
    plain.retain()
    pinned.pin()
    assert arena.release_owner("a") == 2
    assert arena.slots_in_use == 2
    plain.release()  # late, and harmless
    assert arena.slots_in_use == 2
    pinned.unpin()
    assert arena.slots_in_use == 1
    other.release()
    assert arena.in_use == 0


async def test_waiters_are_served_in_order_and_a_cancelled_one_blocks_nobody(arena: Arena):
    whole = await arena.allocate(8 * PAGE)
    big = asyncio.create_task(arena.allocate(6 * PAGE))
    small = asyncio.create_task(arena.allocate(PAGE))
    await asyncio.sleep(0)
    whole.release()
    slot = await big
    later = await small
    assert (slot.offset, later.offset) == (0, 6 * PAGE)
    too_big, behind = asyncio.create_task(arena.allocate(4 * PAGE)), asyncio.create_task(arena.allocate(PAGE))
    await asyncio.sleep(0)
    assert arena.try_allocate(PAGE) is None, "overtook a waiter"
    too_big.cancel()
    assert (await behind).offset == 7 * PAGE


async def test_a_waiter_cancelled_in_the_instant_it_is_served_gives_the_slot_back(arena: Arena):
    whole = await arena.allocate(8 * PAGE)
    waiter = asyncio.create_task(arena.allocate(PAGE))
    await asyncio.sleep(0)
    whole.release()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert arena.in_use == 0


async def test_a_dead_owners_wait_ends(arena: Arena):
    whole = await arena.allocate(8 * PAGE)
    dead, living = asyncio.create_task(arena.allocate(PAGE, "a")), asyncio.create_task(arena.allocate(PAGE, "b"))
    await asyncio.sleep(0)
    arena.release_owner("a")
    with pytest.raises(ValueError, match="taken back"):
        await dead
    whole.release()
    (await living).release()
    assert arena.in_use == 0


async def test_what_never_fits_is_refused(arena: Arena):
    for nbytes in (0, -1, 8 * PAGE + 1):
        with pytest.raises(ValueError, match=str(nbytes)):
            await arena.allocate(nbytes)


async def test_closing_wakes_waiters_and_unlinks(arena: Arena):
    view = take(arena, 8 * PAGE).array((4,))
    waiter = asyncio.create_task(arena.allocate(1))
    await asyncio.sleep(0)
    arena.close()
    with pytest.raises(ValueError, match="closed"):
        await waiter
    assert not (shm.SHM / arena.name).exists()
    assert view.sum() == 0  # memory of a view that is still alive


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3 * PAGE), st.integers(0, 3), st.integers(0, 2)), max_size=30), st.randoms())
def test_every_order_of_release_brings_all_home(wanted: list[tuple[int, int, int]], order):
    with Arena(64 * PAGE) as arena:
        drops = []
        for stamp, (nbytes, holds, pins) in enumerate(wanted):
            slot = arena.try_allocate(nbytes)
            if slot is None:
                continue
            slot.array((slot.nbytes,))[...] = stamp
            for _ in range(holds):
                slot.retain()
            for _ in range(pins):
                slot.pin()
            drops += [(slot, stamp, slot.release)] * (holds + 1) + [(slot, stamp, slot.unpin)] * pins
        order.shuffle(drops)
        for slot, stamp, drop in drops:
            assert (slot.array((slot.nbytes,)) == stamp).all(), "another slot wrote here"
            drop()
        assert arena.in_use == 0


def test_a_dead_owners_memory_is_swept_and_a_living_ones_is_not(arena: Arena):
    make = "from orchestrator.adapters.frames.arena import Arena; import os; "
    script = make + "print(Arena(4096).name, flush=True); os._exit(9)"
    dead = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stdout.strip()
    (shm.SHM / f"{dead}-region").write_bytes(b"x")
    told: list[str] = []
    assert dead in shm.sweep(told.append)
    assert dead in told
    assert not list(shm.SHM.glob(f"{dead}*"))
    assert (shm.SHM / arena.name).exists()
    assert arena.name not in told


def test_offsets_suit_mmap(arena: Arena):
    take(arena, 1)
    assert take(arena, PAGE + 1).offset % mmap.ALLOCATIONGRANULARITY == 0

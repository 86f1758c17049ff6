"""Slots of a session: lent one batch at a time, home again when the last holder and the last request are done."""

from __future__ import annotations

import pytest

from orchestrator.adapters.decoders.slots import TapSlots
from orchestrator.adapters.frames.arena import Arena
from orchestrator.core.frames import Tap, View
from orchestrator.core.sampling import EVERY_FRAME

TAP = Tap(View(64, 64), EVERY_FRAME, 4)


async def test_a_slot_is_granted_again_when_its_last_holder_and_pin_are_done() -> None:
    granted: list[tuple[int, int]] = []
    with Arena(1 << 20) as arena:
        slots = await TapSlots.allocate(arena, (TAP,), "test", lambda tap, slot: granted.append((tap, slot)))
        lease = slots.lend(0, 2)
        assert lease.array((TAP.slot_bytes,)).size == TAP.slot_bytes
        lease.retain()
        lease.pin()
        lease.release()
        lease.release()
        assert granted == []
        lease.unpin()
        assert granted == [(0, 2)]
        with pytest.raises(ValueError, match="has returned"):
            lease.array((1,))
        slots.close()
        assert arena.in_use == 0


async def test_closing_takes_back_what_is_held_but_not_what_a_request_still_reads() -> None:
    granted: list[tuple[int, int]] = []
    with Arena(1 << 20) as arena:
        slots = await TapSlots.allocate(arena, (TAP,), "test", lambda tap, slot: granted.append((tap, slot)))
        held, pinned = slots.lend(0, 0), slots.lend(0, 1)
        pinned.pin()
        slots.close()
        assert arena.slots_in_use == 1
        held.release()
        pinned.release()
        assert arena.slots_in_use == 1
        pinned.unpin()
        assert arena.in_use == 0
        assert granted == []


async def test_a_tap_whose_slots_are_all_lent_is_exhausted() -> None:
    with Arena(1 << 20) as arena:
        slots = await TapSlots.allocate(arena, (TAP,), "test", lambda tap, slot: None)
        leases = [slots.lend(0, number) for number in slots.free[0]]
        assert slots.exhausted
        leases[0].release()
        assert not slots.exhausted
        slots.close()

"""The slots of one session: a few arena extents per tap, each either the worker's to write or lent to a receiver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from orchestrator.adapters.frames.arena import Arena, ArenaSlot
from orchestrator.core.frames import Tap

_TAP_BYTES = 16 << 20
_FEWEST, _MOST = 2, 6


def slots_per_tap(tap: Tap) -> int:
    """How many slots a tap gets: as many as fit 16 MiB, 2 to 6."""
    return max(_FEWEST, min(_MOST, _TAP_BYTES // tap.slot_bytes))


class TapSlots:
    """Extents of every tap. ``granted(tap, slot)`` is called when a lent slot has come back. ``on_gpu``: the worker of now fills them
    there, those of ``mirrored`` taps in host memory too.
    """

    def __init__(
        self,
        extents: Sequence[Sequence[ArenaSlot]],
        granted: Callable[[int, int], None],
        mirrored: Sequence[bool] | None = None,
    ) -> None:
        self._extents = [list(each) for each in extents]
        self._granted = granted
        self._mirrored = list(mirrored or [True] * len(extents))
        self.on_gpu = False
        self._lent: dict[tuple[int, int], ArenaSlot] = {}
        self._closed = False

    @classmethod
    async def allocate(
        cls, arena: Arena, taps: Sequence[Tap], owner: str, granted: Callable[[int, int], None]
    ) -> TapSlots:
        """Allocate the extents; waits while the arena is full. Nothing stays allocated when that is cancelled."""
        extents: list[list[ArenaSlot]] = []
        try:
            for tap in taps:
                extents.append([])
                for _ in range(slots_per_tap(tap)):
                    extents[-1].append(await arena.allocate(tap.slot_bytes, owner))
        except BaseException:
            for slot in (slot for each in extents for slot in each):
                slot.release()
            raise
        return cls(extents, granted, [tap.host for tap in taps])

    @property
    def offsets(self) -> tuple[tuple[int, ...], ...]:
        """Byte offsets in the arena, per tap."""
        return tuple(tuple(slot.offset for slot in each) for each in self._extents)

    @property
    def free(self) -> tuple[tuple[int, ...], ...]:
        """Slots that are not lent, per tap."""
        return tuple(
            tuple(number for number in range(len(each)) if (tap, number) not in self._lent)
            for tap, each in enumerate(self._extents)
        )

    @property
    def exhausted(self) -> bool:
        """Whether some tap has every slot lent, so that the worker has to wait."""
        return any(not free for free in self.free)

    def may_lend(self, tap: int, slot: int) -> bool:
        """Whether the worker may deliver this slot now."""
        return 0 <= slot < len(self._extents[tap]) and (tap, slot) not in self._lent

    def lend(self, tap: int, slot: int) -> ArenaSlot:
        """The slot for a receiver, held once."""
        lease = self._extents[tap][slot].sublease(
            partial(self._returned, tap, slot), on_gpu=self.on_gpu, mirrored=self._mirrored[tap]
        )
        self._lent[tap, slot] = lease
        return lease

    def close(self) -> None:
        """Give the extents back; those that a request has pinned follow when it ends."""
        self._closed = True
        for lease in list(self._lent.values()):
            lease.revoke()
        for slot in (slot for each in self._extents for slot in each):
            slot.release()
        self._extents = [[] for _ in self._extents]

    def _returned(self, tap: int, slot: int) -> None:
        del self._lent[tap, slot]
        if not self._closed:
            self._granted(tap, slot)

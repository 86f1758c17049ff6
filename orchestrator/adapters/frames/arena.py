"""The frame arena: one shared mapping below ``/dev/shm``, leased out in page-aligned slots.

Triton registers the mapping once and reads slots in place; a decode worker maps single slots through the arena's
descriptor and the slot's offset. A slot returns when its last holder is done. A request that may still run *pins*
its slots: a pin outlasts the death of the stream that owned them, so memory that Triton may still read or write is
never given to another.

Not thread-safe: one event loop allocates and releases.
"""

from __future__ import annotations

import asyncio
import math
import mmap
import os
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.adapters.frames import shm
from orchestrator.adapters.frames.allocator import FirstFit, pages

GPU_SUFFIX = "-gpu"


class ArenaSlot:
    """A lease on ``nbytes`` of an arena, from byte ``offset`` (page-aligned unless it is a part)."""

    __slots__ = ("_lease", "nbytes", "offset")

    def __init__(self, lease: _Lease, offset: int, nbytes: int) -> None:
        self._lease, self.offset, self.nbytes = lease, offset, nbytes

    @property
    def region(self) -> str:
        """Name under which a server knows the memory that holds what was written: the arena's on the GPU, or in host memory."""
        return f"{self._lease.arena.name}{GPU_SUFFIX}" if self._lease.on_gpu else self._lease.arena.name

    @property
    def arena(self) -> Arena:
        """The arena that this slot is a piece of."""
        return self._lease.arena

    @property
    def fd(self) -> int:
        """Descriptor of the arena's file; with ``offset`` another process maps just this slot."""
        return self._lease.arena.fd

    def array(self, shape: tuple[int, ...], dtype: str = "uint8", offset: int = 0) -> NDArray[np.generic]:
        """A view ``shape`` of ``dtype`` from byte ``offset`` of the slot, no copy; valid while held. Raises
        ``ValueError`` past the end, and where what was written is on the GPU alone.
        """
        self._lease.check()
        if self._lease.on_gpu and not self._lease.mirrored:
            raise ValueError("these pixels are on the GPU alone: the tap does not ask for them in host memory")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if offset < 0 or offset + size > self.nbytes:
            raise ValueError(f"{size} bytes from {offset} do not fit a slot of {self.nbytes} bytes")
        return np.ndarray(shape, dtype, self._lease.arena.memory, self.offset + offset)

    def part(self, offset: int, nbytes: int) -> ArenaSlot:
        """``[offset, offset + nbytes)`` of this slot, sharing its lease. Raises ``ValueError`` past the end."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"[{offset}, {offset + nbytes}) is not inside a slot of {self.nbytes} bytes")
        return ArenaSlot(self._lease, self.offset + offset, nbytes)

    def retain(self) -> None:
        """One more holder. Raises ``ValueError`` after the slot returned."""
        self._lease.check()
        self._lease.holders += 1

    def release(self) -> None:
        """One holder less; the last one returns the slot. Raises ``ValueError`` when nobody holds it."""
        self._lease.drop_holder()

    def sublease(self, returned: Callable[[], None], *, on_gpu: bool = False, mirrored: bool = False) -> ArenaSlot:
        """A lease of its own on this memory, held once; it pins this slot and calls ``returned`` when its last
        holder and pin are done. ``on_gpu``: what was written is there, and ``mirrored``: in host memory too.

        For an owner that lends the same memory again and again.
        """
        lease = _Sublease(self, returned)
        lease.on_gpu, lease.mirrored = on_gpu, mirrored
        return ArenaSlot(lease, self.offset, self.nbytes)

    def revoke(self) -> None:
        """Drop every hold of this lease at once; pins stay. Later releases are ignored."""
        self._lease.revoke()

    def pin(self) -> None:
        """Keep the memory for a request that reads or writes it, even past ``release_owner``."""
        self._lease.check()
        self._lease.pins += 1

    def unpin(self) -> None:
        """That request has certainly ended."""
        self._lease.drop_pin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Lease:
    """What a slot and its parts share."""

    __slots__ = ("arena", "holders", "mirrored", "offset", "on_gpu", "owner", "pins", "revoked")

    def __init__(self, arena: Arena, offset: int, owner: str | None) -> None:
        self.arena, self.offset, self.owner = arena, offset, owner
        self.holders, self.pins, self.revoked = 1, 0, False
        self.on_gpu = self.mirrored = False

    def check(self) -> None:
        if self.holders + self.pins <= 0 or self.revoked:
            raise ValueError(f"the slot at {self.offset} has returned to the arena")

    def drop_holder(self) -> None:
        if self.revoked:
            return  # its owner died, and all its holds went with it
        if self.holders <= 0:
            raise ValueError(f"the slot at {self.offset} was released more often than it was held")
        self.holders -= 1
        self._return_if_free()

    def drop_pin(self) -> None:
        if self.pins <= 0:
            raise ValueError(f"the slot at {self.offset} was unpinned more often than it was pinned")
        self.pins -= 1
        self._return_if_free()

    def revoke(self) -> None:
        self.revoked, self.holders = True, 0
        self._return_if_free()

    def _return_if_free(self) -> None:
        if self.holders + self.pins == 0:
            self.arena._give(self)


class _Sublease(_Lease):
    """A lease whose memory goes back to the slot that lent it."""

    __slots__ = ("_lender", "_returned")

    def __init__(self, lender: ArenaSlot, returned: Callable[[], None]) -> None:
        super().__init__(lender.arena, lender.offset, None)
        self._lender, self._returned = lender, returned
        lender.pin()

    def _return_if_free(self) -> None:
        if self.holders + self.pins == 0:
            self._lender.unpin()
            self._returned()


class GpuMemory(Protocol):
    """The arena's other half: as many bytes on a GPU. ``handle`` lets other processes open it."""

    @property
    def ordinal(self) -> int: ...

    @property
    def handle(self) -> bytes: ...


class Arena:
    """``nbytes`` of shared memory (rounded up to pages), and as many on a GPU with ``gpu``. Pages cost memory only once they are
    written.
    """

    def __init__(self, nbytes: int, gpu: GpuMemory | None = None) -> None:
        self._fit = FirstFit(pages(nbytes))
        self.gpu = gpu
        self.name, self.fd = shm.claim()
        try:
            os.ftruncate(self.fd, self.nbytes)
            self.memory = mmap.mmap(self.fd, self.nbytes)
        except BaseException:
            shm.remove(self.name)
            os.close(self.fd)
            raise
        self._leases: dict[int, _Lease] = {}
        self._waiting: deque[tuple[int, str | None, asyncio.Future[ArenaSlot]]] = deque()
        self._closed = False

    @property
    def nbytes(self) -> int:
        """Size of the whole arena."""
        return self._fit.capacity

    @property
    def in_use(self) -> int:
        """Bytes leased now, whole pages; 0 when every slot has come home."""
        return self._fit.in_use

    @property
    def slots_in_use(self) -> int:
        """Slots leased now."""
        return len(self._leases)

    async def allocate(self, nbytes: int, owner: str | None = None) -> ArenaSlot:
        """A slot of ``nbytes``, held once; waits first come, first served, while the arena is full.

        ``owner`` names the stream that ``release_owner`` frees. Raises ``ValueError`` when the arena could never
        hold it.
        """
        if not 0 < nbytes <= self.nbytes:
            raise ValueError(f"a slot is 1..{self.nbytes} bytes of this arena, got {nbytes}")
        if slot := self.try_allocate(nbytes, owner):
            return slot
        future: asyncio.Future[ArenaSlot] = asyncio.get_running_loop().create_future()
        self._waiting.append((nbytes, owner, future))
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().release()  # served in the instant of the cancellation
            self._serve()  # those behind may fit where this one did not
            raise

    def try_allocate(self, nbytes: int, owner: str | None = None) -> ArenaSlot | None:
        """Like ``allocate``, but ``None`` where that would wait."""
        if self._closed:
            raise ValueError("the arena is closed")
        return None if any(not future.done() for *_, future in self._waiting) else self._take(nbytes, owner)

    def release_owner(self, owner: str) -> int:
        """Drop every hold on the slots of ``owner``, and its waits; returns how many slots. Pinned ones return
        when unpinned.
        """
        mine = [lease for lease in self._leases.values() if lease.owner == owner and not lease.revoked]
        for _, waiter, future in self._waiting:
            if waiter == owner and not future.done():
                future.set_exception(ValueError(f"the slots of {owner} were taken back"))
        for lease in mine:
            lease.revoke()
        self._serve()
        return len(mine)

    def close(self) -> None:
        """Unlink the file and let the mapping go (at once, or with the last view of it). Waiters get ``ValueError``."""
        if self._closed:
            return
        self._closed = True
        while self._waiting:
            future = self._waiting.popleft()[2]
            if not future.done():
                future.set_exception(ValueError("the arena was closed"))
        shm.remove(self.name)
        os.close(self.fd)
        del self.memory  # never mmap.close(): NumPy views keep the object alive, but would not stop it from unmapping

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, nbytes: int, owner: str | None) -> ArenaSlot | None:
        offset = self._fit.take(nbytes)
        if offset is None:
            return None
        lease = self._leases[offset] = _Lease(self, offset, owner)
        return ArenaSlot(lease, offset, nbytes)

    def _give(self, lease: _Lease) -> None:
        del self._leases[lease.offset]
        self._fit.give(lease.offset)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and not self._closed:
            nbytes, owner, future = self._waiting[0]
            if not future.done():
                slot = self._take(nbytes, owner)
                if slot is None:
                    return
                future.set_result(slot)
            self._waiting.popleft()

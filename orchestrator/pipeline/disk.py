"""A full disk pauses the service and loses nothing.

Below ``low`` free bytes new work is refused (``check``) and commits wait (``through``); above ``high`` all goes on by
itself. What lies between is the reserve in which heartbeats and final states are still written, and the distance
keeps the service from starting and stopping with every megabyte.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from orchestrator.errors import DiskFull

log = structlog.get_logger(__name__)
T = TypeVar("T")

EVERY = 1.0  # seconds between two looks of who waits


def free_bytes(folder: Path) -> int:
    """What this user may still write in ``folder``, or in the nearest one above it that exists."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    room = os.statvfs(existing)
    return room.f_bavail * room.f_frsize


class DiskGuard:
    """Watches the disks of ``folders``; the fullest counts. Sizes are bytes.

    Looking costs a system call for each folder, so ``full`` and ``check`` look each time: there is no thread, and no
    state that could be stale.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        low: int,
        high: int,
        every: float = EVERY,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._folders = tuple(folders)
        self.limit(low, high)
        self._every, self._free = every, free
        self._full = False

    def limit(self, low: int, high: int) -> None:
        """Put other limits in force."""
        if not 0 <= low < high:
            raise ValueError(f"the disk guard wants 0 <= low < high, got {low} and {high}")
        self._low, self._high = low, high

    @property
    def full(self) -> bool:
        """Whether there is too little room now: below ``low``, or still not above ``high`` since."""
        free = self.free
        full = free < (self._high if self._full else self._low)
        if full is not self._full:
            self._full = full
            if full:
                log.error("disk.full", free_bytes=free)
            else:
                log.info("disk.freed", free_bytes=free)
        return full

    @property
    def free(self) -> int:
        """Free bytes of the fullest disk."""
        return min(map(self._free, self._folders))

    def check(self) -> None:
        """Raise ``DiskFull`` (which tells a client to come again) when there is too little room."""
        if self.full:
            raise DiskFull("the disk is full; try again when there is room")

    async def wait_for_room(self) -> None:
        """Return once there is room; at once when there is."""
        while self.full:
            await asyncio.sleep(self._every)

    async def through(self, write: Callable[[], Awaitable[T]]) -> T:
        """Run ``write`` when there is room, and again when the disk was full all the same. ``write`` must change nothing
        when it raises ``DiskFull``, as the ports promise."""
        while True:
            await self.wait_for_room()
            try:
                return await write()
            except DiskFull:
                log.warning("disk.write_refused", free_bytes=self.free)
                self._full = True  # whatever the numbers say: a quota, or a reserve of the file system
                await asyncio.sleep(self._every)

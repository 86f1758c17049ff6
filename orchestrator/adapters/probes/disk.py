"""How full the disks are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.health import Limits, Reading, Seen, Status, measured

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Room:
    """Of a file system, in bytes. ``device`` tells one from another."""

    free: int
    size: int
    device: int


def room_of(folder: Path) -> Room:
    """The file system of ``folder``, or of the nearest one above it that exists. Raises ``OSError``."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    room = os.statvfs(existing)
    # What root alone may use counts as used, as for df.
    used = (room.f_blocks - room.f_bfree) * room.f_frsize
    free = room.f_bavail * room.f_frsize
    return Room(free, used + free, existing.stat().st_dev)


class Disks:
    """``disk/PLACE``: the used share of each file system that ``places`` lie on. While ``full`` says that the service refuses new work for
    want of room, the one with the least is critical whatever its share."""

    name = "disk"

    def __init__(
        self,
        places: Mapping[str, Path],
        limits: Limits,
        *,
        full: Callable[[], bool],
        room: Callable[[Path], Room] = room_of,
    ) -> None:
        self._places, self._limits, self._full, self._room = places, limits, full, room

    async def look(self) -> Seen:
        """See the port. Raises ``OSError``."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> Seen:
        rooms = {name: self._room(place) for name, place in self._places.items()}
        refusing, least = self._full(), min((room.free for room in rooms.values()), default=0)
        readings: list[Reading] = []
        seen: set[int] = set()
        for name, room in rooms.items():
            if room.device not in seen:  # two places on one disk are one trouble
                seen.add(room.device)
                readings.append(self._reading(name, room, refusing and room.free == least))
        values = {f"disk_free_bytes/{name}": float(room.free) for name, room in rooms.items()}
        values |= {f"disk_size_bytes/{name}": float(room.size) for name, room in rooms.items()}
        values |= {f"disk_used_ratio/{name}": _used(room) for name, room in rooms.items()}
        return Seen(tuple(readings), values)

    def _reading(self, name: str, room: Room, refusing: bool) -> Reading:
        detail = f"{room.free / GIB:.1f} GiB free of {room.size / GIB:.1f} GiB"
        reading = measured(f"disk/{name}", _used(room), "ratio", self._limits, detail)
        if refusing:
            detail += "; new work is refused, and commits wait"
            return Reading(reading.component, Status.CRITICAL, reading.value, "ratio", self._limits, detail)
        return reading


def _used(room: Room) -> float:
    return 1 - room.free / room.size if room.size else 1.0

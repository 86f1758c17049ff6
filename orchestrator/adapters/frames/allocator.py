"""First-fit allocation of page-aligned extents: arithmetic only, no memory."""

from __future__ import annotations

from bisect import bisect_left, insort

PAGE = 4096


def pages(nbytes: int) -> int:
    """``nbytes`` rounded up to whole pages; at least one page."""
    return max(1, -(-nbytes // PAGE)) * PAGE


class FirstFit:
    """Extents ``[offset, offset + size)`` inside ``[0, capacity)``; each is page-aligned and none overlaps another."""

    def __init__(self, capacity: int) -> None:
        if capacity <= 0 or capacity % PAGE:
            raise ValueError(f"a capacity is a positive multiple of {PAGE} bytes, got {capacity}")
        self.capacity = capacity
        self._free: list[tuple[int, int]] = [(0, capacity)]  # (offset, size), by offset, never adjacent
        self._taken: dict[int, int] = {}

    @property
    def in_use(self) -> int:
        """Bytes taken."""
        return sum(self._taken.values())

    def take(self, nbytes: int) -> int | None:
        """Offset of the lowest extent that fits, or ``None``."""
        size = pages(nbytes)
        for place, (offset, room) in enumerate(self._free):
            if room >= size:
                if room == size:
                    del self._free[place]
                else:
                    self._free[place] = (offset + size, room - size)
                self._taken[offset] = size
                return offset
        return None

    def give(self, offset: int) -> None:
        """Return the extent that begins at ``offset``; raises ``KeyError`` when none does."""
        size = self._taken.pop(offset)
        place = bisect_left(self._free, (offset, 0))
        if place < len(self._free) and self._free[place][0] == offset + size:
            size += self._free.pop(place)[1]
        if place and sum(self._free[place - 1]) == offset:
            before, room = self._free.pop(place - 1)
            offset, size = before, room + size
        insort(self._free, (offset, size))

"""What libav reads from: one descriptor, through ``pread``, waiting for bytes that have not arrived.

The control page (see ``MediaBytes.control_fd``) tells how far the file has grown. A seek past that point succeeds and
the read waits; the size of a growing file is unknown and never made up.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable

GROWING, COMPLETE, ABORTED = 0, 1, 2
POLL_SECONDS = 0.01
STARVED_SECONDS = 0.1
_UNSUPPORTED = -38  # ENOSYS: libav takes any negative answer for "cannot"


class ControlPage:
    """The worker's read-only view of the 16 bytes."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, 16, prot=mmap.PROT_READ)
        self._words = memoryview(self._map).cast("q")

    def read(self) -> tuple[int, int]:
        """Bytes that may be read, and the state (read first, so that ``COMPLETE`` goes with the final size)."""
        state = self._words[1]
        return self._words[0], state


class MediaReader:
    """A file object for ``av.open``.

    ``seekable`` is what libav is told. While bytes are missing for longer than ``STARVED_SECONDS``,
    ``starving(position)`` is called at every poll, and ``starving(None)`` once when they have come.
    """

    name = "media"

    def __init__(self, fd: int, page: ControlPage, starving: Callable[[int | None], None] = lambda at: None) -> None:
        self._fd, self._page, self._starving = fd, page, starving
        self._position = 0
        self.is_seekable = True
        self.furthest = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Whether libav may seek."""
        return self.is_seekable

    def tell(self) -> int:
        """The position."""
        return self._position

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; waits for the first of them; empty at the end."""
        available = self._wait(self._position + 1)
        data = os.pread(self._fd, max(0, min(size, available - self._position)), self._position)
        self._position += len(data)
        self.furthest = max(self.furthest, self._position)
        return data

    def peek(self, size: int) -> bytes:
        """The first ``size`` bytes of the file (fewer when it is shorter), waiting for them."""
        return self.at(0, size)

    def at(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` (fewer at the end), waiting for them; the position stays."""
        available = self._wait(offset + size)
        return os.pread(self._fd, max(0, min(size, available - offset)), offset)

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position, or a negative number where the end is asked for and not known yet."""
        if whence == os.SEEK_END:
            committed, state = self._page.read()
            if state == GROWING:
                return _UNSUPPORTED
            offset += committed
        elif whence == os.SEEK_CUR:
            offset += self._position
        if offset < 0:
            return _UNSUPPORTED
        self._position = offset
        return offset

    @property
    def complete(self) -> bool:
        """Whether the size is final."""
        return self._page.read()[1] != GROWING

    @property
    def aborted(self) -> bool:
        """Whether the upload was given up."""
        return self._page.read()[1] == ABORTED

    def size(self) -> int:
        """The final size, waiting for it."""
        return self._wait(1 << 62)

    def _wait(self, needed: int) -> int:
        """Bytes available, once there are ``needed`` of them or no more can come."""
        committed, state = self._page.read()
        if committed >= needed or state != GROWING:
            return committed
        began, told = time.monotonic(), False
        while committed < needed and state == GROWING:
            if told or time.monotonic() - began >= STARVED_SECONDS:
                told = True
                self._starving(needed)
            time.sleep(POLL_SECONDS)
            committed, state = self._page.read()
        if told:
            self._starving(None)
        return committed

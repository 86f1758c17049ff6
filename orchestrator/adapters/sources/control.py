"""The control page: 16 shared bytes that tell a reader in another process how far a file has grown."""

from __future__ import annotations

import mmap
import os
from enum import IntEnum


class State(IntEnum):
    """What may still happen to the file."""

    GROWING = 0
    COMPLETE = 1
    ABORTED = 2


class ControlPage:
    """Writer's side: two little-endian int64 in a sealed-size memfd, ``committed`` and ``state``.

    Each is stored by one aligned 8-byte write, ``committed`` before ``state``, so that a reader who sees ``COMPLETE`` sees the final size.
    """

    def __init__(self, committed: int = 0, state: State = State.GROWING) -> None:
        self.fd = os.memfd_create("reelsift-control", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, 16)
        self._map = mmap.mmap(self.fd, 16)
        self._words = memoryview(self._map).cast("q")
        self.committed, self.state = committed, state

    @property
    def committed(self) -> int:
        """Bytes that may be read."""
        return self._words[0]

    @committed.setter
    def committed(self, value: int) -> None:
        self._words[0] = value

    @property
    def state(self) -> State:
        """Whether more may come."""
        return State(self._words[1])

    @state.setter
    def state(self, value: State) -> None:
        self._words[1] = int(value)

    def close(self) -> None:
        """Let the page go; the properties go on answering what they said last."""
        if self.fd < 0:
            return
        last = memoryview(bytearray(self._words)).cast("q")
        self._words.release()
        self._map.close()  # it holds a descriptor of its own
        self._words = last
        os.close(self.fd)
        self.fd = -1

"""Things that nobody may touch, and that tell when somebody does."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

_IN_ACCESS, _IN_OPEN, _IN_NONBLOCK = 0x1, 0x20, os.O_NONBLOCK  # linux/inotify.h
_EVENT = struct.Struct("iIII")


class FolderCanary:
    """Sees every opening and reading of a file in a folder, by any process (inotify(7))."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(_IN_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0 or libc.inotify_add_watch(self._fd, os.fsencode(folder), _IN_ACCESS | _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify failed")

    def touched(self) -> set[str]:
        """Names of the files that were touched since the last call."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return set()
        names, at = set(), 0
        while at < len(data):
            _, _, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            names.add(data[at : at + length].rstrip(b"\0").decode())
            at += length
        return names

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


class PortCanary:
    """Listens on a TCP and a UDP port of this machine."""

    def __init__(self) -> None:
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = int(self._tcp.getsockname()[1])
        self._udp.bind(("127.0.0.1", self.port))
        self._tcp.setblocking(False)
        self._udp.setblocking(False)

    def touched(self) -> bool:
        """Whether anyone has called."""
        for call in (self._tcp.accept, lambda: self._udp.recv(1)):
            try:
                call()
            except BlockingIOError:
                continue
            return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tcp.close()
        self._udp.close()

"""Media that grow: one nameless temporary file, and a page that says how far."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.adapters.sources.control import ControlPage, State
from orchestrator.errors import DiskFull, MediaTooLarge, UploadOutOfOrder


class Spool:
    """A ``MediaBytes`` that is written here. The file has no name, so it is gone with its last descriptor, however this process ends.

    ``directory`` must lie on the disk that is to hold uploads; ``limit`` is the largest size in bytes (``None``: any).
    """

    def __init__(self, directory: Path, limit: int | None = None) -> None:
        self._limit = limit
        self._write_fd = self._read_fd = -1
        self._control = ControlPage()
        try:
            self._write_fd = _nameless(directory)
            # Readers get a descriptor that cannot write.
            self._read_fd = os.open(f"/proc/self/fd/{self._write_fd}", os.O_RDONLY | os.O_CLOEXEC)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise _translated(error) from error
            raise

    def append(self, data: bytes | memoryview, offset: int | None = None) -> int:
        """Add bytes at the end; returns the new ``committed``.

        ``offset`` is where the sender believes the end to be. Raises ``UploadOutOfOrder``, ``MediaTooLarge`` or ``DiskFull``; what was
        committed before stays as it is.
        """
        committed = self._control.committed
        if self._control.state is not State.GROWING:
            raise UploadOutOfOrder("the upload has ended", expected_offset=committed)
        if offset is not None and offset != committed:
            raise UploadOutOfOrder(
                f"a chunk at {offset} does not continue the upload at {committed}", expected_offset=committed
            )
        if self._limit is not None and committed + len(data) > self._limit:
            raise MediaTooLarge(f"the media is larger than {self._limit} bytes", limit=self._limit)
        rest = memoryview(data).cast("B")
        at = committed
        while rest:
            try:
                written = os.pwrite(self._write_fd, rest, at)
            except OSError as error:
                raise _translated(error) from error
            rest, at = rest[written:], at + written
        self._control.committed = at
        return at

    def finish(self) -> None:
        """No more bytes will come."""
        if self._control.state is State.GROWING:
            self._control.state = State.COMPLETE

    def abort(self) -> None:
        """The upload was given up; readers stop."""
        if self._control.state is State.GROWING:
            self._control.state = State.ABORTED

    def fileno(self) -> int:
        """Read-only descriptor."""
        return self._read_fd

    @property
    def committed(self) -> int:
        """Bytes that may be read now."""
        return self._control.committed

    @property
    def complete(self) -> bool:
        """Whether ``finish`` was called."""
        return self._control.state is State.COMPLETE

    @property
    def control_fd(self) -> int:
        """See ``MediaBytes.control_fd``."""
        return self._control.fd

    def close(self) -> None:
        """Let the file go. Safe to call again; a worker that reads it keeps its own descriptor."""
        self.abort()
        for fd in (self._write_fd, self._read_fd):
            if fd >= 0:
                os.close(fd)
        self._write_fd = self._read_fd = -1
        self._control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nameless(directory: Path) -> int:
    try:
        return os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    fd, name = tempfile.mkstemp(dir=directory)  # a file system without O_TMPFILE
    os.unlink(name)
    return fd


def _translated(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("no room for the upload")
    return error

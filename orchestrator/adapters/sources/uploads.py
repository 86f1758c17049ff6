"""Uploads: one file each, which grows under its writer while decoders read it, and outlives both.

Only what ``sync`` has brought onto the disk counts after a crash: a file is cut back to that when it is opened again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from orchestrator import failpoints
from orchestrator.adapters.sources.control import ControlPage, State
from orchestrator.core.jobs import UploadState
from orchestrator.errors import DiskFull, MediaTooLarge, SourceGone, UploadOutOfOrder

P = ParamSpec("P")
T = TypeVar("T")

MOST_KNOWN = 4096  # closed uploads whose state is remembered: far more than calls can be under way

_ID = re.compile(r"[0-9a-zA-Z_-]{1,128}")


class Uploads:
    """The uploads of a directory, by id. ``limit``: the largest size in bytes of those that are opened from now on."""

    def __init__(self, directory: Path, limit: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self.limit = directory, limit
        self._open: dict[str, _Growing] = {}
        self._known: dict[str, UploadState] = {}

    def writer(self, upload_id: str, state: UploadState) -> SpoolWriter:
        """A writer that goes on at ``state``; the one before it loses its right. Raises ``DiskFull``."""
        growing = self._growing(upload_id, state, create=not state.committed)
        growing.users += 1
        growing.writer += 1
        return SpoolWriter(self, growing, growing.writer)

    def reader(self, upload_id: str, state: UploadState) -> SpooledMedia:
        """The bytes of an upload. Raises ``SourceGone`` when its file is no longer kept."""
        growing = self._growing(upload_id, state, create=not (state.committed or state.complete))
        growing.users += 1
        return SpooledMedia(self, growing)

    def being_written(self, upload_id: str) -> bool:
        """Whether a writer is at it."""
        growing = self._open.get(upload_id)
        return growing is not None and growing.writers > 0

    def kept(self, upload_id: str) -> bool:
        """Whether its file is here."""
        return self._path(upload_id).is_file()

    def delete(self, upload_id: str) -> None:
        """Remove the file; who has it open reads on."""
        self._path(upload_id).unlink(missing_ok=True)
        self._known.pop(upload_id, None)

    def _growing(self, upload_id: str, state: UploadState, *, create: bool) -> _Growing:
        growing = self._open.get(upload_id)
        if growing is None:
            # What the caller read from the store may be older than what was synchronised here since.
            known = self._known.get(upload_id, state)
            state = UploadState(max(state.committed, known.committed), state.complete or known.complete)
            growing = self._open[upload_id] = _Growing(self._path(upload_id), upload_id, state, self.limit, create)
        return growing

    def _path(self, upload_id: str) -> Path:
        if not _ID.fullmatch(upload_id):
            raise ValueError(f"no upload can have the id {upload_id!r}")
        return self._directory / upload_id

    def _release(self, growing: _Growing) -> None:
        growing.users -= 1
        if not growing.users:
            self._open.pop(growing.upload_id, None)
            self._known[growing.upload_id] = UploadState(growing.synced, growing.complete)
            while len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
            growing.close()


class _Growing:
    """The open file, shared by its users."""

    def __init__(self, path: Path, upload_id: str, state: UploadState, limit: int, create: bool) -> None:
        self.upload_id, self.limit = upload_id, limit
        self.users = self.writer = self.writers = 0
        self.synced = state.committed
        self.writing = threading.Lock()  # a write runs in a thread: nobody may close the descriptor under it
        self.fd = _open(path, create)
        try:
            if os.fstat(self.fd).st_size < state.committed:
                raise SourceGone("the upload's bytes are no longer kept")
            if not state.complete:
                os.ftruncate(self.fd, state.committed)
            self.control = ControlPage(state.committed, State.COMPLETE if state.complete else State.GROWING)
        except BaseException:
            os.close(self.fd)
            raise

    @property
    def complete(self) -> bool:
        return self.control.state is State.COMPLETE

    def close(self) -> None:
        with self.writing:
            os.close(self.fd)
            self.control.close()


class SpoolWriter:
    """Writes an upload. Close it in the end; what was written stays."""

    def __init__(self, uploads: Uploads, growing: _Growing, right: int) -> None:
        self._uploads, self._growing, self._right = uploads, growing, right
        self._closed = False
        growing.writers += 1

    @property
    def committed(self) -> int:
        """Bytes written."""
        return self._growing.control.committed

    async def append(self, offset: int, data: bytes) -> int:
        """Write ``data`` at ``offset``; see ``api.ports.UploadWriter``. A slow disk does not hold the event loop."""
        return await asyncio.to_thread(self._append, offset, data)

    async def sync(self) -> int:
        """Bring what was written onto the disk; returns how much that is."""
        return await asyncio.to_thread(self._sync)

    def finish(self) -> None:
        """No more bytes will come (call ``sync`` before)."""
        self._check()
        self._growing.control.state = State.COMPLETE

    def close(self) -> None:
        """Leave. May be called twice."""
        if not self._closed:
            self._closed = True
            self._growing.writers -= 1
            self._uploads._release(self._growing)

    def _append(self, offset: int, data: bytes) -> int:
        growing = self._growing
        with growing.writing:
            self._check()
            committed = growing.control.committed
            if offset > committed:
                raise UploadOutOfOrder(
                    f"a chunk at {offset} does not continue the upload at {committed}", expected_offset=committed
                )
            rest = memoryview(data)[committed - offset :]
            if rest and growing.control.state is not State.GROWING:
                raise UploadOutOfOrder("the upload has ended", expected_offset=committed)
            if committed + len(rest) > growing.limit:
                raise MediaTooLarge(f"the media is larger than {growing.limit} bytes", limit=growing.limit)
            while rest:
                written = _translated(os.pwrite, growing.fd, rest, committed)
                rest, committed = rest[written:], committed + written
            failpoints.reach("upload.written")
            growing.control.committed = committed
            return committed

    def _sync(self) -> int:
        with self._growing.writing:
            self._check()
            committed = self._growing.control.committed
            fd = os.dup(self._growing.fd)
        try:
            _translated(os.fdatasync, fd)  # beside the writer, who goes on
        finally:
            os.close(fd)
        self._growing.synced = max(self._growing.synced, committed)
        return committed

    def _check(self) -> None:
        if self._closed:
            raise ValueError("this writer is closed")
        if self._right != self._growing.writer:
            raise UploadOutOfOrder("another call has taken this upload over", expected_offset=self.committed)


class SpooledMedia:
    """A ``MediaBytes`` over an upload."""

    def __init__(self, uploads: Uploads, growing: _Growing) -> None:
        self._uploads, self._growing = uploads, growing
        # Readers get a descriptor that cannot write.
        self._fd = os.open(f"/proc/self/fd/{growing.fd}", os.O_RDONLY | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Read-only descriptor."""
        return self._fd

    @property
    def committed(self) -> int:
        """Bytes that may be read now."""
        return self._growing.control.committed

    @property
    def complete(self) -> bool:
        """Whether no more will come."""
        return self._growing.complete

    @property
    def control_fd(self) -> int:
        """See ``MediaBytes.control_fd``."""
        return self._growing.control.fd

    def close(self) -> None:
        """Leave. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._uploads._release(self._growing)


def _open(path: Path, create: bool) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        raise SourceGone("the upload's bytes are no longer kept") from None
    except OSError as error:
        raise _typed(error) from error
    if create:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _translated(os.fsync, directory)  # the name, too, must survive the loss of power
        except BaseException:
            os.close(fd)
            raise
        finally:
            os.close(directory)
    return fd


def _translated(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    try:
        return call(*arguments, **named)
    except OSError as error:
        raise _typed(error) from error


def _typed(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("no room for the upload")
    return error

"""Blobs in a local directory, written so that the loss of power takes none that was acknowledged.

A blob is written to a file of its own, brought onto the disk (fsync), given its name (rename), and then the name is
brought onto the disk (fsync of the folder, and of the folders above that are new). So a name always leads to a whole blob.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator import failpoints
from orchestrator.adapters.blobs.keys import checked, folder_of, is_part
from orchestrator.errors import DiskFull, NotFound, StoreUnavailable
from orchestrator.ports import BlobInfo

INCOMING = ".incoming"
LEFT_BEHIND = 3600.0  # seconds after which no put is still writing a file
_ATTEMPTS = 8  # of a put whose folder a delete takes away, again and again


class LocalBlobs:
    """A ``BlobStore`` below ``root``, which the first put makes where it is missing. Several processes may use one root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ready = False

    async def put(self, key: str, data: bytes) -> None:
        """See ``BlobStore.put``. Raises ``ValueError`` for a key that is none."""
        await asyncio.to_thread(self._put, self.path(key), data)

    async def get(self, key: str) -> bytes:
        """See ``BlobStore.get``."""
        try:
            return await asyncio.to_thread(self.path(key).read_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(f"no blob {key}") from error

    async def delete(self, key: str) -> None:
        """See ``BlobStore.delete``. A folder goes with its last blob."""
        await asyncio.to_thread(self._delete, self.path(key))

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """See ``BlobStore.list``. A folder is read at once, when its turn comes."""
        waiting: list[BlobInfo | str] = [folder_of(prefix)]
        while waiting:
            entry = waiting.pop()
            if isinstance(entry, BlobInfo):
                yield entry
            else:
                waiting += await asyncio.to_thread(self._entries, entry, prefix)

    def path(self, key: str) -> Path:
        """Where the blob of ``key`` is, or would be."""
        return self._root / checked(key)

    def _put(self, path: Path, data: bytes) -> None:
        temporary = self._root / INCOMING / f"{os.getpid()}-{uuid.uuid4().hex}"
        try:
            self._prepare()
            _write(temporary, data)
            failpoints.reach("blob.written")
            self._name(temporary, path)
            failpoints.reach("blob.named")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull("no room for a blob") from error
            raise
        finally:
            temporary.unlink(missing_ok=True)
        for folder in self._folders(path):
            with suppress(FileNotFoundError):  # a delete was faster
                sync_folder(folder)
        failpoints.reach("blob.synced")

    def _prepare(self) -> None:
        incoming = self._root / INCOMING
        if self._ready and incoming.is_dir():
            return
        incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in self._root.absolute().parents:  # whoever made them may have died before they were on the disk
            with suppress(PermissionError):
                sync_folder(folder)
        _sweep(incoming)
        self._ready = True

    def _name(self, temporary: Path, path: Path) -> None:
        for _ in range(_ATTEMPTS):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.rename(path)
                return
            except FileNotFoundError:  # a delete took the empty folder away meanwhile
                continue
            except FileExistsError:  # it was there, and is gone before `mkdir` could see that it is a folder
                if path.parent.exists() and not path.parent.is_dir():
                    raise
        raise StoreUnavailable("the folder of a blob goes as soon as it is made")

    def _folders(self, path: Path) -> Iterator[Path]:
        """Those that hold ``path``, up to the root."""
        for folder in path.parents:
            yield folder
            if folder == self._root:
                return

    def _delete(self, path: Path) -> None:
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        with suppress(OSError):  # others are in it, or someone else was faster
            for folder in self._folders(path):
                if folder != self._root:
                    folder.rmdir()

    def _entries(self, folder: str, prefix: str) -> Sequence[BlobInfo | str]:
        """Blobs and folders in ``folder`` that begin with ``prefix``, last ones first. A folder ends with a slash."""
        found: dict[str, BlobInfo | str] = {}
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._root / folder) as entries:
            for entry in entries:
                key = folder + entry.name
                if not is_part(entry.name) or not f"{key}/".startswith(prefix):
                    continue
                if entry.is_dir():
                    found[f"{key}/"] = f"{key}/"
                elif key.startswith(prefix):
                    with suppress(FileNotFoundError):  # deleted since its name was read
                        file = entry.stat()
                        found[key] = BlobInfo(key, file.st_size, max(0, time.time_ns() - file.st_mtime_ns))
        # The slash takes part in the order of keys: "a.b" comes before "a/b".
        return [found[key] for key in sorted(found, reverse=True)]


def _sweep(incoming: Path) -> None:
    """Delete what puts left behind that died half way, in whatever process."""
    for file in incoming.iterdir():
        with suppress(FileNotFoundError):  # its put is done
            if time.time() - file.stat().st_mtime > LEFT_BEHIND:
                file.unlink()


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` onto the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

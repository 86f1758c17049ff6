"""Backup of a store that is in use, and restore.

A backup is a folder: ``database/`` as it was at one instant, ``blobs/`` and ``uploads/`` that it names, and a manifest that
is written last. What the database names was there before the row that names it, so blobs are copied after the database. One
that was deleted in between tells that the snapshot is out of date: it is taken again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from orchestrator.adapters.stores import migrate
from orchestrator.adapters.stores.manifest import NAME, PIECE_BYTES, Manifest, digest_of
from orchestrator.adapters.stores.snapshots import FOLDER, Snapshot, Snapshots
from orchestrator.errors import DiskFull, NotFound, SetupError
from orchestrator.ports import BlobStore

BLOBS, UPLOADS = "blobs", "uploads"
SNAPSHOTS = 3  # tries to get one whose blobs are all there
AT_ONCE = 16  # blobs on their way

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store has its parts. ``uploads``: the folder of the spool files."""

    database: Snapshots
    blobs: BlobStore
    uploads: Path


# --- backup ----------------------------------------------------------------------------------------------------------


async def back_up(place: Place, folder: Path) -> Manifest:
    """Write a backup into ``folder``, which must be empty or missing. Raises ``SetupError``, ``DiskFull``, ``StoreUnavailable``,
    ``InternalError`` for a damaged database."""
    with _room_in("the backup's folder"):
        await asyncio.to_thread(_prepare, folder)
        missing: list[str] = []
        for _ in range(SNAPSHOTS):
            now = datetime.now(UTC)
            snapshot = await asyncio.to_thread(_snapshot, place.database, folder / FOLDER)
            missing = await _collect(place, snapshot, folder)
            if not missing:
                break
        for path in missing:
            log.warning("backup.blob_missing", blob=path)
        return await asyncio.to_thread(_complete, folder, place.database.backend, now, snapshot, missing)


def _prepare(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SetupError("the backup's folder is not empty: name another")
    for part in (FOLDER, BLOBS, UPLOADS):
        (folder / part).mkdir(mode=0o700, parents=True)


def _snapshot(database: Snapshots, folder: Path) -> Snapshot:
    for file in folder.iterdir():
        file.unlink()
    return database.take(folder)


async def _collect(place: Place, snapshot: Snapshot, folder: Path) -> list[str]:
    """Copy what the database names and is not here yet; returns what could not be had."""
    named = snapshot.named
    missing: list[str] = []
    places = asyncio.Semaphore(AT_ONCE)

    async def blob(key: str, size: int) -> None:
        target = folder / BLOBS / key
        async with places:
            if target.is_file():
                return
            try:
                data = await place.blobs.get(key)
            except NotFound:
                data = b""
            if len(data) == size:
                await asyncio.to_thread(_write, target, data)
            else:
                missing.append(f"{BLOBS}/{key}")

    keys = list(named.blobs.items())
    for first in range(0, len(keys), 64 * AT_ONCE):
        await asyncio.gather(*(blob(key, size) for key, size in keys[first : first + 64 * AT_ONCE]))
    for name, committed in named.uploads.items():
        if not await asyncio.to_thread(_copy_upload, place.uploads / name, folder / UPLOADS / name, committed):
            missing.append(f"{UPLOADS}/{name}")
    return sorted(missing)


def _write(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def _copy_upload(source: Path, target: Path, committed: int) -> bool:
    """Copy the first ``committed`` bytes, which do not change any more while the file grows; whether they are there."""
    try:
        with source.open("rb") as reading, target.open("wb") as writing:
            while committed and (piece := reading.read(min(PIECE_BYTES, committed))):
                writing.write(piece)
                committed -= len(piece)
    except FileNotFoundError:
        return False
    return not committed


def _complete(folder: Path, backend: str, now: datetime, snapshot: Snapshot, missing: list[str]) -> Manifest:
    """Bring every file onto the disk, and then say so in the manifest."""
    named = {f"{BLOBS}/{key}" for key in snapshot.named.blobs} | {
        f"{UPLOADS}/{name}" for name in snapshot.named.uploads
    }
    files = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        path = file.relative_to(folder).as_posix()
        if path in missing or (path not in named and not path.startswith(f"{FOLDER}/")):
            file.unlink()  # of an earlier snapshot
            continue
        _sync(file)
        files[path] = digest_of(file)
    manifest = Manifest(
        backend=backend,
        time=now.isoformat(timespec="seconds"),
        revision=snapshot.revision,
        rows=snapshot.rows,
        columns=snapshot.columns,
        files=files,
        missing=tuple(missing),
    )
    incoming = folder / f"{NAME}.incoming"
    incoming.write_bytes(manifest.to_bytes())
    _sync(incoming)
    for inner in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        _sync(inner)
    incoming.rename(folder / NAME)
    _sync(folder)
    _sync(folder.absolute().parent)
    return manifest


# --- restore ---------------------------------------------------------------------------------------------------------


async def restore(place: Place, folder: Path, *, force: bool = False) -> Manifest:
    """Make the store what the backup in ``folder`` holds. With ``force`` what the store holds is thrown away.

    Every file is read and compared with its digest before anything is touched. The database comes last and in one step, so
    whoever is interrupted can begin again. Raises ``SetupError`` for a damaged or incomplete backup (naming the file), one of
    another kind of database or of a newer version, and for a store that is in use or not empty; ``DiskFull``.
    """
    manifest = await asyncio.to_thread(checked, folder)
    if manifest.backend != place.database.backend:
        raise SetupError(f"this is a backup of {manifest.backend}, and the store is {place.database.backend}")
    if manifest.revision not in migrate.revisions():
        raise SetupError(
            "the backup was made by a newer version of reelsift: upgrade this one", revision=manifest.revision
        )
    with _room_in("the store"):
        await asyncio.to_thread(place.database.check_free, force=force)
        for key in manifest.below(BLOBS):
            await place.blobs.put(key, await asyncio.to_thread((folder / BLOBS / key).read_bytes))
        for name in manifest.below(UPLOADS):
            await asyncio.to_thread(_put_upload, folder / UPLOADS / name, place.uploads / name)
        await asyncio.to_thread(place.database.put_back, folder / FOLDER, manifest, force=force)
    return manifest


def checked(folder: Path) -> Manifest:
    """The manifest of a whole and undamaged backup. Raises ``SetupError``."""
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    return manifest


def _put_upload(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    incoming = target.with_name(f".{target.name}.incoming")
    shutil.copyfile(source, incoming)
    incoming.chmod(0o600)
    _sync(incoming)
    incoming.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _room_in(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no room in {what}") from error
        raise SetupError(f"{what} cannot be used: {os.strerror(error.errno or errno.EIO)}") from error

"""A series of backups: a folder with one backup a run, each in a folder named by its time (UTC). One is added, and old ones go.

A backup that was read back whole is never the newest to go: nothing is removed but what is older than one that has been read back just
now. So a store that is damaged, or a disk that is, cannot use up the good backups by bad ones.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from orchestrator.adapters.stores.backup import Place, back_up
from orchestrator.adapters.stores.manifest import NAME, Manifest
from orchestrator.errors import SetupError

_TIME = "%Y%m%dT%H%M%SZ"  # sorts by itself
_LOCK = ".lock"
_DAMAGED = f"{NAME}.damaged"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Keep:
    """Which old backups stay: the newest ``copies`` whole ones, and any that is younger than ``age``."""

    copies: int
    age: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise ValueError(f"at least one backup stays, got {self.copies}")


@dataclass(frozen=True, slots=True)
class Added:
    """A backup that was added in ``folder``, and the names of those that went for it."""

    folder: Path
    manifest: Manifest
    gone: tuple[str, ...]


async def add(place: Place, folder: Path, keep: Keep) -> Added:
    """Write a backup below ``folder``, read it back, and let old ones go. Raises what ``back_up`` and ``read_back`` raise, and
    ``SetupError`` while another one is being written there; then nothing goes.
    """
    with _alone_in(folder):
        now = datetime.now(UTC)
        new = folder / now.strftime(_TIME)
        manifest = await back_up(place, new)
        await asyncio.to_thread(read_back, new)
        return Added(new, manifest, await asyncio.to_thread(prune, folder, keep, now, new))


def read_back(folder: Path) -> Manifest:
    """Read a backup from the disk again and compare it with its digests. Raises ``SetupError``; a damaged one is no backup any more."""
    manifest = Manifest.read(folder)
    for path in manifest.files:
        _forget_pages(folder / path)
    try:
        manifest.verify(folder)
    except SetupError:
        (folder / NAME).rename(folder / _DAMAGED)
        raise
    return manifest


def newest(folder: Path) -> Manifest | None:
    """The manifest of the newest whole backup of the series in ``folder``; ``None`` where there is none."""
    return next((manifest for each in _newest_first(folder) if (manifest := _whole(each))), None)


def prune(folder: Path, keep: Keep, now: datetime, new: Path) -> tuple[str, ...]:
    """Remove what ``keep`` does not ask for; returns the names. ``new`` has just been read back."""
    fresh = _whole(new) is not None
    older = [each for each in _newest_first(folder) if each != new]
    if not fresh:  # it lacks something: an earlier one has to be the one that is relied on
        relied = next((at for at, each in enumerate(older) if _reads_back(each)), None)
        if relied is None:
            return ()
        older = older[relied + 1 :]
    whole = 1
    gone = []
    for each in older:
        if _whole(each):
            whole += 1
            if whole <= keep.copies or _time_of(each) > now - keep.age:
                continue
        _remove(each)
        gone.append(each.name)
    return tuple(gone)


def _whole(folder: Path) -> Manifest | None:
    """Its manifest, when it was completed and nothing was missing. Its files are not read."""
    try:
        manifest = Manifest.read(folder)
    except SetupError:
        return None
    return None if manifest.missing else manifest


def _reads_back(folder: Path) -> bool:
    if not _whole(folder):
        return False
    try:
        read_back(folder)
    except SetupError as error:
        log.error("backup.damaged", backup=folder.name, error=str(error))
        return False
    return True


def _newest_first(folder: Path) -> list[Path]:
    """The folders that are named by a time; nothing else in there is ours."""
    return sorted((each for each in _entries(folder) if each.is_dir() and _is_ours(each)), reverse=True)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _is_ours(folder: Path) -> bool:
    try:
        _time_of(folder)
    except ValueError:
        return False
    return True


def _time_of(folder: Path) -> datetime:
    return datetime.strptime(folder.name, _TIME).replace(tzinfo=UTC)


def _remove(folder: Path) -> None:
    """Without its manifest first: whoever is interrupted leaves what is seen to be no backup."""
    (folder / NAME).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _forget_pages(path: Path) -> None:
    """Have the kernel drop what it remembers of a file, so that reading it reads the disk. A wish: some file systems keep it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # ``verify`` will say so
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SetupError(f"the folder of backups cannot be used: {os.strerror(error.errno or 0)}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise SetupError("another backup is being written there") from error
    finally:
        os.close(lock)

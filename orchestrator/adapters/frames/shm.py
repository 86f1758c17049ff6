"""Names below ``/dev/shm`` that outlive no owner.

Everything of one owner begins with ``reelsift-<pid>-<random>``. The file of exactly that name is locked (flock) as
long as the owner, or a child that inherited it, lives. So a name whose lock is free belongs to the dead, whatever
pid namespace they lived in.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import SetupError

SHM = Path("/dev/shm")
_NAME = re.compile(r"(reelsift-\d+-[0-9a-f]{8})")


def require(nbytes: int) -> None:
    """Raise ``SetupError`` where so much shared memory is not free: a page that cannot be had later kills its writer."""
    free = shutil.disk_usage(SHM).free
    if free < nbytes:
        raise SetupError(
            f"shared memory has {free >> 20} MiB free, and {nbytes >> 20} MiB are needed; enlarge {SHM} (containers: "
            "--shm-size) or lower REELSIFT_ARENA_BYTES",
            needed=nbytes,
            free=free,
        )


def claim() -> tuple[str, int]:
    """A new locked file; returns its name and its read-write descriptor (close it to let the name go)."""
    while True:
        name = f"reelsift-{os.getpid()}-{secrets.token_hex(4)}"
        fd = os.open(SHM / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        # A sweep may have found the file before it was locked, and removed it.
        if (SHM / name).exists():
            return name, fd
        os.close(fd)


def remove(name: str) -> None:
    """Unlink everything that begins with ``name``, the locked file last."""
    for path in sorted(SHM.glob(f"{name}*"), reverse=True):
        path.unlink(missing_ok=True)


def sweep(before: Callable[[str], None] = lambda name: None) -> list[str]:
    """Unlink what dead owners left, after ``before(name)`` for each; returns their names."""
    names = {match[1] for path in SHM.glob("reelsift-*") if (match := _NAME.match(path.name))}
    return [name for name in sorted(names) if _sweep_one(name, before)]


def _sweep_one(name: str, before: Callable[[str], None]) -> bool:
    try:
        # Opening creates the file where only its companions are left, so that the lock covers them too.
        fd = os.open(SHM / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        return False  # another user's
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before(name)
        remove(name)  # still under the lock: see claim
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True

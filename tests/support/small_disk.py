"""A real file system that is full soon."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a tmpfs of ``size`` bytes at ``folder``.

    Mounting is root's alone. Whoever is not fails here and learns the way, as a skipped test would hide what it does not know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise RuntimeError(
            f"tests of a full disk mount a small one, but {mounted.stderr.strip()!r}: run the tests as root, "
            "or as `unshare --user --map-root-user --mount make test`"
        )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Write a file that takes all room but ``leave`` bytes; delete it to free the disk."""
    filler = disk / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for size in (1 << 20, 1 << 12, 1):  # a page may be free where a large piece finds no room
            piece = b"\0" * size
            while (room := os.statvfs(disk)).f_bavail * room.f_frsize >= leave + size:
                try:
                    os.write(fd, piece)
                except OSError:
                    break
    finally:
        os.close(fd)
    return filler

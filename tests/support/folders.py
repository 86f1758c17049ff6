"""Folders whose contents need not outlive a test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 4 << 30  # bytes; containers often have but 64 MiB


@contextmanager
def light_folder(prefix: str) -> Iterator[Path]:
    """A new folder in memory, where synchronising costs nothing; on disk where memory has little room. Removed in the end."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY if roomy else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

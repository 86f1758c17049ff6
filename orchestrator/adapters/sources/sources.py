"""The sources of a server: files below its roots, and uploads."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path

from orchestrator.adapters.sources.path import PathSource
from orchestrator.adapters.sources.spool import Spool


class SpoolUpload(Spool):
    """A spool as a client fills it: chunks carry their offset, and may repeat what is stored."""

    def __init__(self, directory: Path, limit: int | None = None) -> None:
        # A write runs in a thread: the descriptor must not be closed, and perhaps be another file's, under it.
        self._writing = threading.Lock()
        super().__init__(directory, limit)

    async def append(self, offset: int, data: bytes) -> int:  # type: ignore[override]
        """Store ``data`` at ``offset``; see ``pipeline.service.Upload``. A slow disk does not hold the event loop."""
        return await asyncio.to_thread(self._store, offset, data)

    def _store(self, offset: int, data: bytes) -> int:
        with self._writing:
            known = self.committed - offset
            if known > 0:
                offset, data = self.committed, data[known:]
            return super().append(data, offset) if data else self.committed

    def close(self) -> None:
        """See ``Spool``."""
        with self._writing:
            super().close()


class Sources:
    """Opens sources for the application service."""

    def __init__(self, roots: tuple[Path, ...], spool_dir: Path | None, limit: int) -> None:
        self._roots, self._limit = roots, limit
        self._spool_dir = spool_dir or Path(tempfile.gettempdir())

    async def open_path(self, path: str) -> PathSource:
        """See ``pipeline.service.Sources``."""
        return await asyncio.to_thread(PathSource, path, self._roots, self._limit)

    def open_upload(self) -> SpoolUpload:
        """See ``pipeline.service.Sources``."""
        return SpoolUpload(self._spool_dir, self._limit)

"""The sources of a server: files below its roots, and uploads."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from orchestrator.adapters.sources.path import PathSource
from orchestrator.adapters.sources.spool import Spool


class SpoolUpload(Spool):
    """A spool as a client fills it: chunks carry their offset, and may repeat what is stored."""

    async def append(self, offset: int, data: bytes) -> int:  # type: ignore[override]
        """Store ``data`` at ``offset``; see ``pipeline.service.Upload``. A slow disk does not hold the event loop."""
        known = self.committed - offset
        if data and known > 0:
            data, offset = data[known:], self.committed
            if not data:
                return self.committed
        return await asyncio.to_thread(super().append, data, offset)


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

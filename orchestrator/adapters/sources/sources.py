"""The sources of a server: files below its roots, and uploads."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from orchestrator.adapters.sources.path import PathSource
from orchestrator.adapters.sources.uploads import SpoolWriter, Uploads
from orchestrator.core.jobs import SourceKind, SourceRef, UploadState
from orchestrator.errors import SourceChanged
from orchestrator.ports import MediaBytes


class Sources:
    """Opens sources for the application service; see ``pipeline.ports.Sources``."""

    def __init__(self, roots: tuple[Path, ...], spool_dir: Path, limit: int) -> None:
        self._roots, self._limit = roots, limit
        self._uploads = Uploads(spool_dir, limit)

    def allow(self, roots: tuple[Path, ...], limit: int) -> None:
        """From now on, files below these roots, and this many bytes. What is open stays open."""
        self._roots, self._limit = roots, limit
        self._uploads.limit = limit

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders below which files may be named."""
        return self._roots

    async def examine(self, path: str) -> SourceRef:
        """A file below the roots as a source. Raises ``SourceNotAllowed``, ``MediaTooLarge``."""

        def look() -> SourceRef:
            with PathSource(path, self._roots, self._limit) as source:
                return SourceRef(SourceKind.PATH, path, source.committed, _stamp(source))

        return await asyncio.to_thread(look)

    async def open(self, source: SourceRef, upload: UploadState) -> MediaBytes:
        """The bytes. Raises ``SourceChanged``, ``SourceGone``, ``SourceNotAllowed``."""
        if source.kind is SourceKind.UPLOAD:
            return self._uploads.reader(source.name, upload)
        opened = await asyncio.to_thread(PathSource, source.name, self._roots, self._limit)
        if source.stamp and _stamp(opened) != source.stamp:
            opened.close()
            raise SourceChanged("the file is not the one that the analysis began with")
        return opened

    def write(self, upload_id: str, upload: UploadState) -> SpoolWriter:
        """The writer of an upload, from ``upload`` on."""
        return self._uploads.writer(upload_id, upload)

    def being_written(self, upload_id: str) -> bool:
        """Whether somebody is writing it."""
        return self._uploads.being_written(upload_id)

    def kept(self, source: SourceRef) -> bool:
        """Whether this machine has its bytes; a file's owner answers for a file."""
        return source.kind is SourceKind.PATH or self._uploads.kept(source.name)

    def delete(self, upload_id: str) -> None:
        """Let an upload's bytes go."""
        self._uploads.delete(upload_id)


def _stamp(source: PathSource) -> str:
    """What tells a file from another that later lies at its path."""
    facts = os.fstat(source.fileno())
    return f"{facts.st_ino}-{facts.st_size}-{facts.st_mtime_ns}"

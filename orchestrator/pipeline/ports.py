"""What the service needs besides the ports of the pipeline: its sources."""

from __future__ import annotations

from typing import Protocol

from orchestrator.core.jobs import SourceRef, UploadState
from orchestrator.ports import MediaBytes


class SpoolWriter(Protocol):
    """The only writer of an upload; a later one takes it over."""

    @property
    def committed(self) -> int:
        """Bytes written."""
        ...

    async def append(self, offset: int, data: bytes) -> int:
        """Write ``data`` at ``offset``; returns ``committed``. Bytes that are there already are ignored. Raises
        ``UploadOutOfOrder`` for a gap or when another has taken over, ``MediaTooLarge``, ``DiskFull``."""
        ...

    async def sync(self) -> int:
        """Bring what was written onto the disk; returns how much that is."""
        ...

    def finish(self) -> None:
        """Tell readers that no more will come."""
        ...

    def close(self) -> None:
        """Leave; what was written stays."""
        ...


class Sources(Protocol):
    """Where media bytes come from."""

    async def examine(self, path: str) -> SourceRef:
        """A file below the allowed roots as a source. Raises ``SourceNotAllowed``, ``MediaTooLarge``."""
        ...

    async def open(self, source: SourceRef, upload: UploadState) -> MediaBytes:
        """The bytes. Raises ``SourceChanged``, ``SourceGone``, ``SourceNotAllowed``."""
        ...

    def write(self, upload_id: str, upload: UploadState) -> SpoolWriter:
        """The writer of an upload, from ``upload`` on."""
        ...

    def being_written(self, upload_id: str) -> bool:
        """Whether somebody is writing it."""
        ...

    def kept(self, source: SourceRef) -> bool:
        """Whether this machine has its bytes."""
        ...

    def delete(self, upload_id: str) -> None:
        """Let an upload's bytes go; no error when they are gone."""
        ...

"""What the API needs from the application: :mod:`orchestrator.pipeline.service` implements it, tests fake it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from orchestrator.core.results import AnalysisEvent
from orchestrator.pipeline.service import AnalysisConfig
from orchestrator.ports import MediaBytes


class UploadBytes(MediaBytes, Protocol):
    """The bytes of a media that a client is still sending."""

    async def append(self, offset: int, data: bytes) -> int:
        """Store ``data`` at ``offset``, which equals ``committed``; returns the new ``committed``. Raises ``DiskFull``."""
        ...

    def finish(self) -> None:
        """The media ends at ``committed``."""
        ...

    def abort(self) -> None:
        """No more bytes will come; readers get an error."""
        ...


class Analyses(Protocol):
    """The application service, free of any transport."""

    async def submit(self, source: MediaBytes, config: AnalysisConfig) -> str:
        """Accept an analysis and return its id. Raises ``QueueFull``, ``Draining``, ``ProfileError``, ``InferenceUnavailable``."""
        ...

    async def open_path(self, path: str) -> MediaBytes:
        """The file at ``path``. Raises ``SourceNotAllowed``."""
        ...

    def open_upload(self) -> UploadBytes:
        """A new, empty upload."""
        ...

    def events(self, analysis_id: str, after: int = 0) -> AsyncIterator[tuple[int, AnalysisEvent]]:
        """Events with a sequence number above ``after``, until the final one. Raises ``NotFound``."""
        ...

    async def cancel(self, analysis_id: str) -> None:
        """Stop an analysis; one that has ended stays as it is. Raises ``NotFound``."""
        ...

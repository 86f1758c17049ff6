"""What the API needs from the application: :mod:`orchestrator.pipeline.service` implements it, tests fake it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from orchestrator.core.results import AnalysisEvent
from orchestrator.pipeline.service import AnalysisConfig, Upload
from orchestrator.ports import MediaBytes


class Analyses(Protocol):
    """The application service, free of any transport."""

    async def submit(self, source: MediaBytes, config: AnalysisConfig) -> str:
        """Accept an analysis and return its id; from then on the service closes ``source``.

        Raises ``QueueFull``, ``Draining``, ``ProfileError``.
        """
        ...

    async def open_path(self, path: str) -> MediaBytes:
        """The file at ``path``. Raises ``SourceNotAllowed``."""
        ...

    def open_upload(self) -> Upload:
        """A new, empty upload."""
        ...

    def events(self, analysis_id: str, after: int = 0) -> AsyncIterator[tuple[int, AnalysisEvent]]:
        """Events with a sequence number above ``after``, until the final one. Raises ``NotFound``."""
        ...

    async def cancel(self, analysis_id: str) -> None:
        """Stop an analysis and wait until it has stopped; one that has ended stays as it is. Raises ``NotFound``."""
        ...

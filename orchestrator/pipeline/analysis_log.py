"""What an analysis tells while it runs, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchestrator.core.jobs import AnalyzerKey, Checkpoint
from orchestrator.core.results import Finished, Progress, Segment, Started


class AnalysisLog(Protocol):
    """Who an analysis tells what it finds. A segment counts as told once ``segment`` has returned."""

    async def started(self, started: Started) -> None:
        """The media was opened; said by every attempt."""
        ...

    async def segment(self, segment: Segment, checkpoint: Checkpoint) -> None:
        """A segment is complete, and how another attempt can go on behind it."""
        ...

    async def progress(self, progress: Progress) -> None:
        """How far it is."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an analysis ended, and the keys of the analyzers that answered all of it with the same code and models."""

    finished: Finished
    keys: tuple[AnalyzerKey, ...]

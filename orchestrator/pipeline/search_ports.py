"""What search needs: an index of the stored segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.documents import Document
from orchestrator.core.ranking import Mark
from orchestrator.core.searching import SearchFilter, SegmentRef
from orchestrator.core.timeline import Interval
from orchestrator.core.words import Phrase

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FoundSegment:
    """A segment as the index knows it, times in nanoseconds from the media's first frame."""

    ref: SegmentRef
    interval: Interval
    start_ns: int
    end_ns: int
    time_base: Fraction
    document: Document


class SearchIndex(Protocol):
    """Finds stored segments. A segment is a row number here, which rises with the time of its commit.

    It is found by its words from the commit on; by the meaning of its text once somebody took its text from ``unread``
    and gave the vector to ``learn``. Whatever ``where`` does not let pass, or is younger than ``mark``, is not found.
    """

    async def mark(self) -> Mark:
        """What there is now."""
        ...

    async def holding(self, asked: Sequence[Phrase], where: SearchFilter, mark: Mark) -> Mapping[int, Document]:
        """At most ``DEPTH`` rows that hold some of ``asked``, those first that hold most."""
        ...

    async def meaning(self, space: str, vector: Vector, where: SearchFilter, mark: Mark) -> Mapping[int, float]:
        """The at most ``DEPTH`` rows whose text is nearest to the unit vector ``vector`` FP32 [d], by cosine."""
        ...

    async def look(self, like: SegmentRef, where: SearchFilter, mark: Mark) -> Mapping[int, float]:
        """The at most ``DEPTH`` rows that look most like ``like``, by cosine; not itself. Raises ``NotFound`` when it is not
        stored, ``FailedPrecondition`` when it has no image vector."""
        ...

    async def newest(self, where: SearchFilter, mark: Mark, below: int | None, limit: int) -> Sequence[int]:
        """At most ``limit`` rows (below row ``below``), newest first."""
        ...

    async def found(self, rows: Sequence[int]) -> Mapping[int, FoundSegment]:
        """What is behind ``rows``; those deleted meanwhile are missing."""
        ...

    async def unread(self, limit: int) -> Mapping[int, Document]:
        """Rows whose text has no vector yet, oldest first."""
        ...

    async def learn(self, space: str, vectors: Mapping[int, Vector]) -> None:
        """Store the vectors (FP32 [d]) of rows from ``unread``, all of them in ``space``: the digest of their model."""
        ...

    async def forget_other(self, space: str) -> int:
        """Put rows with vectors of other spaces among the unread ones; returns how many."""
        ...

"""What an analyzer is.

An analyzer looks at the pictures of one tap, asks models about them, and sums up a segment. The pipeline owns order,
retries, near-duplicates and
backpressure; an analyzer holds none of that. One instance serves one attempt on an analysis.

What it raises ends it, not the analysis: the segments from there on go without it. Only ``Unavailable`` errors that a retry may cure
end the attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, Protocol, TypeVar, runtime_checkable

from orchestrator.analyzers.batch import PictureBatch
from orchestrator.core.frames import Tap
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import At, Thumbnail, Value
from orchestrator.core.sampling import Sampling
from orchestrator.core.segmenting import PlannedSegment

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Observation(Generic[T]):
    """What was seen in one sampled frame; ``reused`` when a near-duplicate was seen instead."""

    at: At
    value: T
    reused: bool


class Analyzer(Protocol[T]):
    """One kind of answer about a segment."""

    @property
    def name(self) -> str:
        """Name in profiles and results."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Models it may ask."""
        ...

    @property
    def revision(self) -> int:
        """Version of its code, labels included: another number when the same pictures may be answered differently."""
        ...

    @property
    def options(self) -> object:
        """Its settings, a dataclass: they decide, with ``revision`` and its models, what it answers."""
        ...

    @property
    def tap(self) -> Tap:
        """The pictures it looks at."""
        ...

    def open(self, media: MediaInfo) -> None:
        """Called once, before the first batch."""
        ...

    async def analyze(self, batch: PictureBatch) -> Sequence[T]:
        """What is seen in each of ``batch.pictures``, in their order. Batches may overlap in time: keep no state
        here.
        """
        ...

    def close(self, segment: PlannedSegment, seen: Sequence[Observation[T]]) -> Value | Thumbnail | None:
        """Sum up a segment from its observations in frame order. Called in segment order; ``None`` when there is
        nothing to say.
        """
        ...


@runtime_checkable
class Resumable(Protocol):
    """What an analyzer has besides that if a segment's answer depends on the segments of its shot before.

    Across shots an analyzer without it must know nothing, and one with it only what ``memo`` says at a shot's first segment.
    """

    def memo(self) -> object:
        """What the segment just closed adds to the state, as a JSON value; floats may not change on the way (see ``core.exact``)."""
        ...

    def recall(self, memos: Sequence[object]) -> None:
        """Come to the state after the segments of ``memos``: those of the newest shot, from its first segment on. Called
        after ``open`` in a thread of its own, before anything else."""
        ...


@dataclass(frozen=True, slots=True)
class SampledOptions:
    """Options that every sampling analyzer has.

    ``fps``: pictures per second of media, 0 = every frame. ``reuse``: share the answer of a near-duplicate picture.
    ``keyframes``: of the frames only those at which the video can be entered, so that hardly anything is decoded; a segment may
    then have none.
    """

    fps: float = 1.0
    reuse: bool = True
    keyframes: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.fps <= 240:
            raise ValueError(f"fps is 0 (every frame) to 240, got {self.fps}")

    @property
    def sampling(self) -> Sampling:
        """Which frames these are, exactly."""
        return Sampling(Fraction(self.fps).limit_denominator(1000) if self.fps else None, self.keyframes)

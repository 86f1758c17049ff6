"""The ports: what the pipeline needs from the world. Adapters implement them; only ``app.py`` chooses which.

Every port has one contract suite in ``tests/contract`` that each implementation passes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.frames import FrameBatch, Slot, Tap
from orchestrator.core.media import DecodeLimits, Ledger, MediaInfo
from orchestrator.core.results import AnalysisEvent, ModelVersion

# --- bytes of a source -----------------------------------------------------------------------------------------------


class MediaBytes(Protocol):
    """The bytes of one media in one file, possibly still growing. A decoder reads it through its descriptor alone."""

    def fileno(self) -> int:
        """Descriptor of the file, open for reading; its offset is never used (``pread``)."""
        ...

    @property
    def committed(self) -> int:
        """Bytes that may be read now."""
        ...

    @property
    def complete(self) -> bool:
        """Whether ``committed`` is the final size."""
        ...

    @property
    def control_fd(self) -> int:
        """Descriptor of a shared page, two little-endian int64: ``committed``, then 0 = growing, 1 = complete, 2 =
        aborted.
        """
        ...

    def close(self) -> None:
        """Free the descriptors; may be called twice."""
        ...


# --- decoding --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """Which pictures to deliver, within which limits."""

    taps: tuple[Tap, ...]
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def __post_init__(self) -> None:
        if not self.taps or len(set(self.taps)) != len(self.taps):
            raise ValueError("a decode request names each tap once, and at least one")


@dataclass(frozen=True, slots=True)
class MediaOpened:
    """The first event of a session."""

    media: MediaInfo


@dataclass(frozen=True, slots=True)
class TimelineGrew:
    """The pts of the next frames of the source, in display order, whether or not any tap takes them."""

    first_index: int
    pts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TapAdvanced:
    """Every sampled frame of ``tap`` below index ``through`` has been delivered (none was left to deliver)."""

    tap: Tap
    through: int


@dataclass(frozen=True, slots=True)
class DecodeFinished:
    """The last event of a session. ``end_pts`` is the exclusive end of the last frame.

    ``partial`` when frames that the source promised are missing; ``first_bad_pts`` is where the first of them should
    have been (an estimate
    when the source broke off). ``fault`` is the stable reason (see ``errors.py``) or ``None``.
    """

    ledger: Ledger
    end_pts: int
    partial: bool = False
    first_bad_pts: int | None = None
    fault: str | None = None


DecodeEvent = MediaOpened | TimelineGrew | FrameBatch | TapAdvanced | DecodeFinished


class DecodeSession(Protocol):
    """One media being decoded."""

    def events(self) -> AsyncIterator[DecodeEvent]:
        """Events in order: ``MediaOpened``, then the others, ``DecodeFinished`` last.

        A frame's ``TimelineGrew`` comes before any batch that holds it. The receiver of a ``FrameBatch`` holds its
        slot and must release it; the decoder
        waits while every slot of a tap is held. Raises a :class:`~orchestrator.errors.MediaError` when no frame can
        be had,
        ``DecodeBudget`` or ``DecoderCrashed``.
        """
        ...

    def hurry(self, through: int) -> None:
        """Someone waits for all frames below index ``through``: deliver part-filled batches that hold them
        instead of waiting for bytes that have not arrived."""
        ...

    def ledger(self) -> Ledger:
        """The ledger so far."""
        ...


class Decoder(Protocol):
    """Turns bytes into batches of pictures."""

    def open(self, source: MediaBytes, request: DecodeRequest) -> AbstractAsyncContextManager[DecodeSession]:
        """A session; leaving the context stops it and frees everything it held."""
        ...


# --- inference -------------------------------------------------------------------------------------------------------

Tensor = NDArray[np.generic]
Outputs = Mapping[str, Tensor]


class Inference(Protocol):
    """Runs models. A request carries exactly ``batch(model)`` rows, so that a batch's make-up cannot change an
    answer.
    """

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Slot | Tensor],
        *,
        output_dims: Mapping[str, tuple[int, ...]] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Outputs:
        """Infer one batch.

        ``inputs``: a ``Slot`` is passed by reference; its shape is ``(batch, *dims)`` of the model's config, or
        ``shapes[name]`` where the
        config has variable dims. An array is copied. ``output_dims`` bounds the variable output dims (without the
        batch). Outputs are owned arrays
        ``(batch, *dims)``. Raises ``InferenceUnavailable`` when retries are spent.
        """
        ...

    def batch(self, model: str) -> int:
        """Rows of one request of ``model``."""
        ...

    def version(self, model: str) -> ModelVersion:
        """Name, version and digest of what answers for ``model`` now."""
        ...

    async def ready(self, models: Sequence[str]) -> None:
        """Load ``models`` and wait until they answer; raises ``InferenceUnavailable``."""
        ...


# --- results ---------------------------------------------------------------------------------------------------------


class ResultStore(Protocol):
    """The truth of every analysis: an append-only log of events, read by cursor."""

    async def create(self, analysis_id: str) -> None:
        """Open the log of a new analysis."""
        ...

    async def append(self, analysis_id: str, event: AnalysisEvent) -> int:
        """Append; returns the event's sequence number (1, 2, ...). Raises ``NotFound``, or ``InternalError`` after a
        final event.
        """
        ...

    async def exists(self, analysis_id: str) -> bool:
        """Whether the log was ever opened (and is still kept)."""
        ...

    def read(self, analysis_id: str, after: int = 0) -> AsyncIterator[tuple[int, AnalysisEvent]]:
        """Events with a sequence number above ``after``, then those still to come, until the final one. Raises
        ``NotFound``.
        """
        ...

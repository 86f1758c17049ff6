"""The ports: what the pipeline needs from the world. Adapters implement them; only ``app.py`` chooses which.

Every port has one contract suite in ``tests/contract`` that each implementation passes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.frames import FrameBatch, Slot, Tap
from orchestrator.core.jobs import (
    AnalysisFilter,
    AnalysisRecord,
    AnalysisSpec,
    AnalysisState,
    AnalyzerKey,
    Checkpoint,
    Lease,
    Page,
    Queued,
    ReusePlan,
    SourceRef,
    UploadState,
)
from orchestrator.core.media import DecodeLimits, Ledger, LedgerMark, MediaInfo
from orchestrator.core.results import Failed, Finished, LoggedEvent, ModelVersion, Segment, Started
from orchestrator.core.statistics import Spent

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
class DecodeStart:
    """Where to begin: tap by tap the first frame that is wanted, and the account of the frames that are known already.

    Sampling, near-duplicates and the ledger are those of a decoding from frame 0. The first row of a tap with ``reuse``
    may lie before its first frame, so that no row repeats a frame that was not delivered. The timeline is told from
    frame 0. ``mark`` should count all frames below every ``first``: others are not counted.
    """

    first: tuple[int, ...]
    mark: LedgerMark = field(default_factory=LedgerMark)

    def __post_init__(self) -> None:
        if not self.first or min(self.first) < 0:
            raise ValueError(f"a decode start names a frame for each tap, got {self.first}")


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """Which pictures to deliver, within which limits, and where to begin (``None``: at frame 0)."""

    taps: tuple[Tap, ...]
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    start: DecodeStart | None = None

    def __post_init__(self) -> None:
        if not self.taps or len(set(self.taps)) != len(self.taps):
            raise ValueError("a decode request names each tap once, and at least one")
        if self.start is not None and len(self.start.first) != len(self.taps):
            raise ValueError("a decode start names one frame for each tap")


@dataclass(frozen=True, slots=True)
class MediaOpened:
    """The first event of a session. ``decoder`` names what decodes: ``cpu`` or ``nvdec``."""

    media: MediaInfo
    decoder: str = "cpu"


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
        instead of waiting for bytes that have not arrived, and, the first time, for further frames."""
        ...

    def ledger(self) -> Ledger:
        """The ledger so far."""
        ...

    def mark(self) -> LedgerMark:
        """The ledger of the frames counted so far, for a ``DecodeStart``."""
        ...

    @property
    def starved(self) -> bool:
        """Whether it waits for bytes that have not come."""
        ...

    @property
    def starved_seconds(self) -> float:
        """For how long it has waited for such bytes, all in all."""
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
    """Runs models. What a row's answer is does not depend on what else is asked with it."""

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Slot | Tensor],
        *,
        output_dims: Mapping[str, tuple[int, ...]] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        rows: int | None = None,
    ) -> Outputs:
        """Infer one batch, of which the first ``rows`` rows (all, by default) matter.

        ``inputs``: a ``Slot`` is passed by reference; its shape is ``(batch, *dims)`` of the model's config, or ``shapes[name]`` where
        the config has variable dims. An array, of ``batch`` rows too, is copied. ``output_dims`` bounds the variable output dims (without
        the batch). Outputs are owned arrays of at least ``rows`` rows, ``(rows, *dims)``. Raises ``InferenceUnavailable`` when retries
        are spent.
        """
        ...

    def batch(self, model: str) -> int:
        """The most rows of one request of ``model``, for which its slots and arrays have room."""
        ...

    def version(self, model: str) -> ModelVersion:
        """Name, version and digest of what answers for ``model`` now."""
        ...

    async def ready(self, models: Sequence[str]) -> None:
        """Load ``models`` and wait until they answer; raises ``InferenceUnavailable``."""
        ...

    def pinned(self, key: str) -> AbstractContextManager[Inference]:
        """The same models, each in the version that answers for ``key`` now, until the context ends (with an empty key: the stable one).
        A pinned view that is pinned again stays as it is.

        All of its methods that ask a model raise ``VersionWithdrawn`` once the version was rolled back.
        """
        ...


# --- results ---------------------------------------------------------------------------------------------------------


class AnalysisStore(Protocol):
    """The truth of every analysis. What a method has returned is on disk, and survives the loss of power.

    A log holds ``Started``, one ``SegmentClosed`` per segment, and one ``Finished`` or ``Failed``, at positions 1, 2,
    ... without gaps. Only the holder of the newest lease writes to it. Unknown ids raise ``NotFound``; a full disk raises
    ``DiskFull`` and changes nothing; a database that does not answer raises ``StoreUnavailable``.
    """

    @property
    def shared(self) -> bool:
        """Whether other processes may hold leases in it."""
        ...

    # --- what clients do ---

    async def create(self, analysis_id: str, spec: AnalysisSpec, *, limit: int) -> tuple[AnalysisRecord, bool]:
        """Queue a new analysis; whether it is new. The same tenant and (non-empty) request id give the analysis made
        first, or ``RequestIdReused`` unless ``core.jobs.same_request``. ``QueueFull`` above ``limit`` analyses that have not ended.
        """
        ...

    async def get(self, analysis_id: str) -> AnalysisRecord:
        """The analysis."""
        ...

    async def list(self, query: AnalysisFilter, page_size: int, page_token: str = "") -> Page:
        """Analyses by time of creation, newest first. Raises ``InvalidRequest`` for a token that is none of ours."""
        ...

    async def read(self, analysis_id: str, after: int = 0, limit: int = 64) -> Sequence[tuple[int, LoggedEvent]]:
        """At most ``limit`` events of the log with positions above ``after``."""
        ...

    async def request_cancel(self, analysis_id: str, *, terminated: str | None = None) -> AnalysisRecord:
        """Ask for its end: a queued one is CANCELLED at once (with its ``Failed`` in the log), a running one by its
        runner, an ended one stays as it is. ``terminated``: why, when an operator asks; the first who asks counts."""
        ...

    async def delete(self, analysis_id: str) -> None:
        """Forget an ended analysis and everything of it. ``AnalysisNotEnded`` while it has not ended."""
        ...

    async def references(self, source: SourceRef) -> int:
        """How many analyses have this source (retries share it)."""
        ...

    async def set_upload(self, analysis_id: str, upload: UploadState) -> None:
        """How much of its upload is on disk. It never shrinks; raises ``UploadOutOfOrder`` if it would, or when more
        follows a complete one; ``FailedPrecondition`` once the analysis has ended."""
        ...

    # --- what runners do ---

    async def queued(self, limit: int = 256) -> Sequence[Queued]:
        """Analyses that wait for a runner, highest priority and oldest first. However long one tenant's queue is, the first
        ones of every tenant are among them."""
        ...

    async def claim(self, analysis_id: str, owner: str) -> Lease | None:
        """Begin an attempt on a queued analysis, which is RUNNING then; ``None`` when another was faster."""
        ...

    async def beat(self, lease: Lease) -> AnalysisRecord:
        """Say that the holder lives. Raises ``LeaseLost`` when there is a newer lease, or the analysis has ended."""
        ...

    async def leases(self) -> Mapping[Lease, int]:
        """Every lease in force and its number of beats (a committed segment is one). Who has seen the same number for longer
        than beats take, by its own monotonic clock, may ``requeue`` it: no two clocks are ever compared."""
        ...

    async def reclaim(self) -> Sequence[str]:
        """Requeue what a process left behind that cannot be alive any more (the embedded store belongs to one process at a
        time; a shared one returns nothing). Each counts as an interruption."""
        ...

    async def requeue(self, lease: Lease, *, reason: str, strike: bool = False) -> None:
        """End an attempt whose analysis is to go on with another; the log stays. ``strike``: it failed through our fault;
        the reason ``INTERRUPTED``: its process died. Raises ``LeaseLost``."""
        ...

    async def checkpoint(self, analysis_id: str) -> tuple[Checkpoint, Sequence[Mapping[str, object]]] | None:
        """The newest checkpoint, and the memos that count, its own last; ``None`` before the first, and after the end."""
        ...

    async def begin(self, lease: Lease, started: Started, reuse: ReusePlan | None) -> int:
        """Commit ``Started``; a later attempt's is ignored. Returns its position. Raises ``LeaseLost``."""
        ...

    async def commit_segment(self, lease: Lease, segment: Segment, checkpoint: Checkpoint) -> int:
        """Commit a segment and the checkpoint behind it, together. Returns its position. Raises ``LeaseLost``; ``InternalError``
        when it is not the next one. The last one again, alike in all, is no error: its answer may have been lost."""
        ...

    async def end(
        self,
        lease: Lease,
        event: Finished | Failed,
        state: AnalysisState,
        keys: Sequence[AnalyzerKey] = (),
        spent: Spent | None = None,
    ) -> int:
        """Commit the final event and state, which keys its analyzers' answers may be found by, and what it took. Returns its position.
        Raises ``LeaseLost``."""
        ...

    # --- what is known already ---

    async def set_digest(self, analysis_id: str, digest: str) -> None:
        """The sha256 of its source, once known."""
        ...

    async def sized(self, size: int) -> bool:
        """Whether a succeeded analysis has a source of ``size`` bytes: else its digest cannot be known."""
        ...

    async def known(self, digest: str, keys: Sequence[AnalyzerKey]) -> ReusePlan | None:
        """The succeeded, whole analysis of these bytes that holds the most of ``keys`` (the newest among equals)."""
        ...

    async def segments(self, analysis_id: str, first: int = 0, limit: int = 64) -> Sequence[Segment]:
        """At most ``limit`` committed segments from number ``first`` on."""
        ...


# --- blobs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A stored blob. ``age_ns``: nanoseconds since it was written."""

    key: str
    size: int
    age_ns: int


class BlobStore(Protocol):
    """Bytes by key, such as ``thumbnails/ID/000001.jpg``: parts of ``[A-Za-z0-9._-]``, separated by ``/``."""

    async def put(self, key: str, data: bytes) -> None:
        """Store ``data``; once this returns it survives the loss of power, and before it nobody sees a part of it.
        Raises ``DiskFull``."""
        ...

    async def get(self, key: str) -> bytes:
        """Raises ``NotFound``."""
        ...

    async def delete(self, key: str) -> None:
        """No error when there is none."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """Every blob whose key begins with ``prefix``, in order of key."""
        ...

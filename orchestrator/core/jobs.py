"""Analyses as durable jobs: what was asked, how far it is, and who is at work on it. Pure.

QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED | QUARANTINED

A running analysis whose runner dies goes back to QUEUED, and on from its last committed segment. An ended one stays as
it is: a retry is a new analysis of the same source that takes over what still holds. An upload is queued at once: it is
analysed while its bytes arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from orchestrator.core.media import LedgerMark, MediaInfo
from orchestrator.core.results import Failed, Finished, ModelVersion, Started


class AnalysisState(StrEnum):
    """Where an analysis stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    QUARANTINED = "QUARANTINED"  # its attempts failed through our fault: an operator should look

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self not in (AnalysisState.QUEUED, AnalysisState.RUNNING)


class SourceKind(StrEnum):
    """Where the bytes of a media are."""

    PATH = "PATH"  # a file below one of the roots; its owner keeps it
    UPLOAD = "UPLOAD"  # a spool file of ours


class RetryFrom(StrEnum):
    """Which part of an analysis RetryAnalysis does again."""

    WHOLE = "WHOLE"
    FAILED_ANALYZERS = "FAILED_ANALYZERS"
    ANALYZER = "ANALYZER"


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A media by reference: ``name`` is the path of a file, or the id of an upload (empty until the service gives one).

    ``size``: bytes, of an upload as announced (``None``: unknown). ``stamp`` tells a file from one that later lies at the
    same path.
    """

    kind: SourceKind
    name: str = ""
    size: int | None = None
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class AnalysisSpec:
    """What a client asks for.

    ``request_id``: submits with the same tenant and id are one analysis. ``analyzers``, when given, are run with the
    profile's settings instead of the profile's own list. ``deadline``: by then it has ended, or is stopped.
    ``bound``: it is cancelled when the call that made it ends, whatever the reason. ``reuse``: take over what an earlier
    analysis of the same bytes answered, except for the analyzers named in ``recompute``. ``retry_of``: the analysis
    that this one repeats. ``traceparent``: the span (W3C) that asked for it; empty where nobody traces.
    """

    source: SourceRef
    profile: str = "default"
    analyzers: tuple[str, ...] = ()
    tenant: str = ""
    request_id: str = ""
    priority: int = 0
    deadline: datetime | None = None
    labels: tuple[tuple[str, str], ...] = ()
    bound: bool = False
    reuse: bool = True
    recompute: tuple[str, ...] = ()
    retry_of: str = ""
    traceparent: str = ""


def same_request(one: AnalysisSpec, other: AnalysisSpec) -> bool:
    """Whether a client that sends both means the same analysis. What the service adds or a resend changes does not count:
    the deadline, what the file was like, the upload's own name, whose trace it is.
    """

    def asked(spec: AnalysisSpec) -> AnalysisSpec:
        name = spec.source.name if spec.source.kind is SourceKind.PATH else ""
        return replace(spec, source=SourceRef(spec.source.kind, name), deadline=None, bound=False, traceparent="")

    return asked(one) == asked(other)


@dataclass(frozen=True, slots=True)
class UploadState:
    """How much of an upload is on disk, synchronised. ``complete``: no more will come."""

    committed: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class ReusePlan:
    """Annotations taken over from an earlier analysis of the same bytes instead of being computed again."""

    analysis_id: str
    analyzers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    """An analysis as the store knows it. Times are UTC.

    ``attempts`` counts runners that began on it, ``strikes`` those among them that failed through our fault.
    ``interruptions``: attempts that ended with their process since the last committed segment. ``segments`` are
    committed; ``last_sequence`` is the newest position of its log. ``terminated``: why an operator asked for its end.
    """

    id: str
    spec: AnalysisSpec
    state: AnalysisState
    create_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    attempts: int = 0
    strikes: int = 0
    interruptions: int = 0
    segments: int = 0
    last_sequence: int = 0
    upload: UploadState = field(default_factory=UploadState)
    started: Started | None = None  # as it was told
    content_digest: str | None = None  # sha256 of the bytes
    reuse: ReusePlan | None = None
    cancel_requested: bool = False
    terminated: str | None = None
    failure: Failed | None = None
    result: Finished | None = None

    @property
    def media(self) -> MediaInfo | None:
        """What was opened; ``None`` before."""
        return self.started.media if self.started else None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to an analysis. ``token`` rises with every claim: an older one's writes are refused."""

    analysis_id: str
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a runner needs to go on after segment ``segments - 1`` exactly as if it had never stopped.

    ``state``: JSON values by part (``"segmenter"``, or an analyzer's name), small and complete. ``memo``: JSON values
    that together with those of the segments before make up a state too large to repeat with each; ``forget`` says that
    those before no longer count (a shot began with this segment).
    """

    segments: int
    next_frame: int
    state: Mapping[str, object]
    ledger: LedgerMark
    memo: Mapping[str, object] = field(default_factory=dict)
    forget: bool = True


@dataclass(frozen=True, slots=True)
class AnalyzerKey:
    """What decides an analyzer's answers besides the bytes: a digest over its options, its models' digests, the
    version of its code and, as answers are summed up per segment, what decides the segmentation."""

    analyzer: str
    key: str


@dataclass(frozen=True, slots=True)
class AnalysisFilter:
    """Which analyses to list; empty fields do not restrict. ``labels`` must all be there."""

    tenant: str | None = None
    states: frozenset[AnalysisState] = frozenset()
    labels: tuple[tuple[str, str], ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing, newest first; ``next_token`` is empty on the last one."""

    records: tuple[AnalysisRecord, ...]
    next_token: str = ""


@dataclass(frozen=True, slots=True)
class Queued:
    """What a scheduler weighs of an analysis that waits. ``cost``: its expected size in bytes (0: unknown)."""

    id: str
    tenant: str
    priority: int
    create_time: datetime
    cost: int
    segments: int
    cancel_requested: bool
    deadline: datetime | None = None
    source: SourceRef = field(default_factory=lambda: SourceRef(SourceKind.PATH))
    upload: UploadState = field(default_factory=UploadState)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an analysis would be and take. ``media`` is ``None`` for an upload; times are nanoseconds, ``None`` where they
    cannot be told."""

    analyzers: tuple[str, ...]
    models: tuple[ModelVersion, ...]
    media: MediaInfo | None = None
    processing_ns: int | None = None
    waiting_ns: int | None = None
    reusable: tuple[str, ...] = ()

"""What operators ask of the past and of the present: totals, durations, samples, sessions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.core.jobs import AnalysisState


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one quantity over ``count`` analyses; zeros where there are none."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What an analysis took. ``stages``: seconds by stage, as in ``Stats``. ``frames``, by analyzer: how many sampled frames it was
    given, and how many of them took a near-duplicate's answer.
    """

    stages: Mapping[str, float] = field(default_factory=dict)
    frames: Mapping[str, tuple[int, int]] = field(default_factory=dict)


LONGEST_HOURS = 8760.0  # for which the past is told: a year


@dataclass(frozen=True, slots=True)
class Stats:
    """The analyses that ended within some ``hours``, at all servers of the store, those that were deleted since among them.

    ``reasons``: typed errors of those that did not succeed. ``elapsed``: seconds from their begin to their end, of those that began;
    ``waiting``: seconds from being asked for to their begin. ``realtime_factor``: processing seconds per media second of those that
    succeeded and took nothing over from an earlier analysis. Frames are those of the ledgers.

    ``stages``: seconds by stage, summed over analyses: ``open`` (until the media is opened and its models answer), ``fetch`` (waiting for
    bytes of the client), ``decode`` (waiting for the decoder), ``infer/ANALYZER`` (its batches, from being given to their answer),
    ``model/NAME`` (the requests to one model among that), ``segment`` (summing up), ``store`` (commits). Stages and batches overlap, so
    they may exceed ``elapsed``.
    """

    hours: float
    states: Mapping[AnalysisState, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    partial: int = 0
    media_seconds: float = 0.0
    elapsed: Spread = Spread()
    waiting: Spread = Spread()
    realtime_factor: Spread = Spread()
    stages: Mapping[str, float] = field(default_factory=dict)
    frames: Mapping[str, int] = field(default_factory=dict)
    frames_analyzed: int = 0  # of all analyzers
    frames_reused: int = 0  # near-duplicates among them

    @property
    def ended(self) -> int:
        """All of them."""
        return sum(self.states.values())

    @property
    def success_rate(self) -> float:
        """Of those that were not cancelled; 1 where there are none."""
        counted = self.ended - self.states.get(AnalysisState.CANCELLED, 0)
        return self.states.get(AnalysisState.SUCCEEDED, 0) / counted if counted else 1.0

    @property
    def duplicate_rate(self) -> float:
        """Share of the sampled frames that took a near-duplicate's answer."""
        return self.frames_reused / self.frames_analyzed if self.frames_analyzed else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a server measured of itself at ``time``: by name, as ``cpu_ratio``, ``memory_bytes``, ``disk_free_bytes/data``,
    ``running``, ``queued``, ``gpu_memory_used_bytes/0``, ``gpu_ratio/0``, ``nvdec_ratio/0``."""

    server: str
    time: datetime
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Session:
    """A running analysis. ``stage``: ``opening``, ``waiting for bytes``, ``analysing`` or ``storing``; ``media_seconds``: how far it is.
    ``progressed``: when it last got on. Of one that runs at another server, only what the store knows.
    """

    analysis_id: str
    server: str
    tenant: str
    profile: str
    stage: str
    attempt: int
    segments: int
    media_seconds: float
    duration_seconds: float | None  # of the media, where it is known
    realtime_factor: float
    started: datetime
    progressed: datetime
    stuck: bool


@dataclass(frozen=True, slots=True)
class Capability:
    """Something that the service does for clients (an analyzer, uploads, search...), and whether it can now."""

    name: str
    ready: bool
    why: str = ""  # it is not
    versions: Mapping[str, str] = field(default_factory=dict)  # of the models that it asks


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One server. ``versions``: of the service and of what it rests on, by name. ``maintenance``: why, while it is on; by whom and
    since when."""

    server: str
    started: datetime
    accepting: bool
    maintenance: str = ""
    maintenance_by: str = ""
    maintenance_since: datetime | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[Capability, ...] = ()

"""What the API needs from the application: :mod:`orchestrator.pipeline.service` and its neighbours implement it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Protocol

from orchestrator.core.alerting import Alert, AlertFilter, Silence
from orchestrator.core.health import Health
from orchestrator.core.jobs import (
    AnalysisFilter,
    AnalysisRecord,
    AnalysisSpec,
    Estimate,
    Page,
    RetryFrom,
    UploadState,
)
from orchestrator.core.model_versions import ModelState
from orchestrator.core.results import AnalysisEvent
from orchestrator.core.retention import Cleaned
from orchestrator.core.rollout import Step
from orchestrator.core.searching import SearchPage, SearchQuery
from orchestrator.core.statistics import Sample, ServiceStatus, Session, Stats


class UploadWriter(Protocol):
    """The only writer of an upload; a later one takes it over, and this one's calls raise ``UploadOutOfOrder``."""

    @property
    def committed(self) -> int:
        """Bytes written, synchronised or not."""
        ...

    async def append(self, offset: int, data: bytes) -> int:
        """Write ``data`` at ``offset``; returns ``committed``. Bytes that are there already are ignored. Raises
        ``UploadOutOfOrder`` for a gap, ``MediaTooLarge``, ``DiskFull``; what was written before stays."""
        ...

    async def sync(self) -> UploadState:
        """Bring everything written onto the disk, and say so in the store: only this may be acknowledged. It may run
        beside ``append``, and then covers what was written when it began."""
        ...

    async def finish(self, size: int | None = None) -> UploadState:
        """No more bytes will come; synchronises. Raises ``InvalidRequest`` unless ``size``, when given, and what was
        announced are what came."""
        ...

    def close(self) -> None:
        """Leave; another writer may go on from what was synchronised."""
        ...


class Analyses(Protocol):
    """The application service, free of any transport. Unknown ids raise ``NotFound``."""

    async def create(self, spec: AnalysisSpec) -> tuple[AnalysisRecord, bool]:
        """Accept an analysis; whether it is new. Raises ``ProfileError``, ``SourceNotAllowed``, ``RequestIdReused``, ``QueueFull``,
        ``DiskFull``, ``Draining``, ``StoreUnavailable``."""
        ...

    async def estimate(self, spec: AnalysisSpec) -> Estimate:
        """What ``spec`` would be and take; creates and analyses nothing. Raises what ``create`` raises, and the media's
        own error."""
        ...

    async def upload(self, analysis_id: str) -> UploadWriter:
        """The writer of its upload, from where it stands. Raises ``FailedPrecondition`` when it has none, or has ended."""
        ...

    async def get(self, analysis_id: str) -> AnalysisRecord:
        """The analysis."""
        ...

    async def list(self, query: AnalysisFilter, page_size: int, page_token: str = "") -> Page:
        """Analyses, newest first. Raises ``InvalidRequest`` for a bad token."""
        ...

    def events(self, analysis_id: str, after: int = 0) -> AsyncGenerator[tuple[int, AnalysisEvent], None]:
        """The log above position ``after``, then what comes, until the final event; between them ``Progress``, whose
        position is 0."""
        ...

    async def cancel(self, analysis_id: str) -> AnalysisRecord:
        """Stop an analysis and wait until it has stopped; one that has ended stays as it is."""
        ...

    async def retry(self, analysis_id: str, what: RetryFrom, analyzer: str = "") -> AnalysisRecord:
        """A new analysis of the same source. Raises ``AnalysisNotEnded``, ``SourceGone``, ``ProfileError``, and what ``create`` raises."""
        ...

    async def delete(self, analysis_id: str) -> None:
        """Forget an ended analysis and what belongs to it. Raises ``AnalysisNotEnded``."""
        ...

    def export(self, analysis_id: str, file_format: str) -> AsyncGenerator[bytes, None]:
        """The results as a file (``core.exporting.FORMATS``). Raises ``AnalysisNotEnded``, ``InvalidRequest``."""
        ...

    async def thumbnail(self, analysis_id: str, segment: int) -> bytes:
        """The JPEG of a segment."""
        ...


class Searches(Protocol):
    """Search over stored segments."""

    async def search(self, query: SearchQuery, page_size: int, page_token: str = "") -> SearchPage:
        """Ranked segments. Raises ``InvalidRequest``, ``NotFound`` for the segment to be like."""
        ...


class Rollouts(Protocol):
    """The models and their versions. A ``version`` of 0 is the one in question; a step returns the model as it is behind it.

    Steps raise ``NotFound``, ``RolloutStepRefused`` where the state does not allow them, ``InvalidRequest`` for a share that is none,
    ``NotManaged``, ``InferenceUnavailable``, ``StoreUnavailable``.
    """

    async def models(self) -> Sequence[ModelState]:
        """Every model, by name."""
        ...

    async def model(self, model: str) -> ModelState:
        """One of them. Raises ``NotFound``."""
        ...

    async def history(self, model: str, limit: int = 100, before: int | None = None) -> Sequence[Step]:
        """Its newest steps first; those below the revision ``before``, when it is given. Raises ``NotFound``."""
        ...

    async def stage(self, model: str, version: int, *, who: str, why: str) -> ModelState:
        """Examine a version and make it the candidate. Raises ``VersionRejected``."""
        ...

    async def shadow(self, model: str, share: float, *, who: str, why: str, version: int = 0) -> ModelState:
        """Ask the candidate for a share of the requests."""
        ...

    async def canary(self, model: str, share: float, *, who: str, why: str, version: int = 0) -> ModelState:
        """Let the candidate answer for a share of the analyses."""
        ...

    async def promote(self, model: str, *, who: str, why: str, version: int = 0) -> ModelState:
        """Make the candidate the stable version."""
        ...

    async def rollback(self, model: str, *, who: str, why: str, version: int = 0) -> ModelState:
        """Leave the candidate, or the stable version."""
        ...

    async def retire(self, model: str, version: int, *, who: str, why: str) -> ModelState:
        """Let the previous version go from memory."""
        ...


class Operations(Protocol):
    """What operators ask of a running service. Raises ``StoreUnavailable`` where it asks the store."""

    def health(self) -> Health:
        """This server's components, as of the last look (a few seconds ago)."""
        ...

    def status(self) -> ServiceStatus:
        """What this server can do, and why not."""
        ...

    async def stats(self, hours: float, *, until: datetime | None = None, profile: str = "") -> Stats:
        """Of the analyses that ended within the ``hours`` before ``until`` (UTC; now, by default), of one profile where it is named.
        Raises ``InvalidRequest`` unless 0 < ``hours`` <= 8760."""
        ...

    async def samples(self, hours: float, server: str = "") -> Sequence[Sample]:
        """What servers measured of themselves, oldest first, thinned out to at most 1,000 points a server. Raises ``InvalidRequest``."""
        ...

    async def sessions(self) -> Sequence[Session]:
        """What runs, longest first, at all servers of the store."""
        ...

    async def terminate(self, analysis_id: str, *, who: str, why: str) -> AnalysisRecord:
        """Cancel a running analysis in an operator's name; it keeps the segments that are told. Raises ``NotFound``."""
        ...

    async def alerts(self, query: AlertFilter, limit: int = 100) -> Sequence[Alert]:
        """Newest first."""
        ...

    async def silences(self) -> Sequence[Silence]:
        """Those in force."""
        ...

    async def silence(self, pattern: str, seconds: float, *, who: str, why: str) -> Silence:
        """Tell nobody of alerts of such components for a while. Raises ``InvalidRequest``."""
        ...

    async def end_silence(self, silence_id: str) -> None:
        """End it now. Raises ``NotFound``."""
        ...

    async def set_maintenance(self, on: bool, *, who: str, why: str) -> None:
        """Refuse new analyses (``UnderMaintenance``) and say NOT_SERVING while it is on; what runs goes on, and what is queued waits. It
        survives restarts. Raises ``InvalidRequest`` when nobody is named."""
        ...

    async def clean_up(self, *, dry_run: bool, who: str, why: str) -> Cleaned:
        """Let go now what retention keeps no longer, or, in a ``dry_run``, only tell of it. Raises ``InvalidRequest`` when nobody is
        named."""
        ...

    def drain(self, *, who: str, why: str) -> None:
        """Have this server end as for SIGTERM: NOT_SERVING, what runs may finish for a while, the rest goes back to the queue."""
        ...

    def reload(self, *, who: str, why: str) -> Sequence[str]:
        """Read the settings anew; the names of those that changed and hold from now on. Raises ``InvalidRequest`` for settings that
        are none, or that only a restart can change: then nothing changes."""
        ...

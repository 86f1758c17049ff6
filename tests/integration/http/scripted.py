"""A scripted application behind the HTTP server: what it was asked for, and what it answers, is the test's to say."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from orchestrator.core.jobs import (
    AnalysisFilter,
    AnalysisRecord,
    AnalysisSpec,
    AnalysisState,
    Estimate,
    Page,
    RetryFrom,
    SourceKind,
    UploadState,
)
from orchestrator.core.media import Ledger, MediaInfo
from orchestrator.core.results import (
    AnalysisEvent,
    Annotation,
    At,
    Failed,
    Finished,
    ModelVersion,
    Progress,
    Segment,
    SegmentClosed,
    Shot,
    Similarity,
    Started,
    Thumbnail,
)
from orchestrator.core.searching import Hit, Match, MatchKind, SearchPage, SearchQuery, SegmentRef
from orchestrator.core.timeline import Interval
from orchestrator.errors import (
    AnalysisNotEnded,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    SourceNotAllowed,
    UploadOutOfOrder,
)

MEDIA = MediaInfo("mov", "h264", 64, 48, 0, Fraction(1, 25), 0, None, Fraction(25))
STARTED = Started(MEDIA, "default", ("shots", "similarity"))
PROGRESS = Progress(40_000_000, 10, Ledger(1, 1, 1), None)
MODEL = ModelVersion("clip", "1", "0" * 64)
JPEG = b"\xff\xd8 a picture \xff\xd9"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def segment(index: int, final: bool = False, jpeg: bytes = JPEG) -> SegmentClosed:
    """A segment of one frame, with a picture."""
    return SegmentClosed(
        Segment(
            index,
            Interval(index, index + 1, index, index + 1),
            (
                Annotation("shots", (), Shot(index, True, 1.0), 1),
                Annotation("similarity", (MODEL,), Similarity((0.5,) * 4), 1),
            ),
            Thumbnail(jpeg, At(index, index), 64, 48),
            final,
        )
    )


def finished(segments: int) -> Finished:
    """The end of an analysis that went well."""
    return Finished(segments, 40_000_000 * segments, 10, Ledger(1, 1, 1), False, None, None)


def script(segments: int = 3) -> tuple[AnalysisEvent, ...]:
    """A whole log."""
    return (STARTED, *(segment(i, i == segments - 1) for i in range(segments)), finished(segments))


CANCELLED = Failed("CANCELLED", "CANCELLED", "the analysis was cancelled", False)


@dataclass
class Writer:
    """Keeps what is written in memory, or only counts it; ``gate`` holds every append back until it is set."""

    job: Job
    right: int

    @property
    def committed(self) -> int:
        return self.job.written

    async def append(self, offset: int, data: bytes) -> int:
        await self.job.gate.wait()
        await asyncio.sleep(self.job.delay)
        self._check()
        if offset > self.job.written:
            raise UploadOutOfOrder("a gap", expected_offset=self.job.written)
        if self.job.refusal is not None and offset + len(data) > self.job.refuse_from:
            raise self.job.refusal
        new = data[self.job.written - offset :]
        self.job.largest = max(self.job.largest, len(data))
        self.job.written += len(new)
        if self.job.keep:
            self.job.digest.update(new)
        return self.job.written

    async def sync(self) -> UploadState:
        self._check()
        return self.job.settle(UploadState(self.job.written))

    async def finish(self, size: int | None = None) -> UploadState:
        self._check()
        announced = self.job.record.spec.source.size
        if any(each not in (None, self.job.written) for each in (size, announced)):
            raise InvalidRequest("the upload has not the size that was announced")
        state = self.job.settle(UploadState(self.job.written, True))
        self.job.extend(*self.job.script)
        return state

    def close(self) -> None:
        self.job.closed += 1

    def _check(self) -> None:
        if self.right != self.job.writers:
            raise UploadOutOfOrder("another call has taken this upload over", expected_offset=self.job.written)


@dataclass
class Job:
    """One analysis. ``script`` is played when its bytes are there; what is not on disk is lost by ``crash``."""

    record: AnalysisRecord
    script: Sequence[AnalysisEvent] = ()
    log: list[AnalysisEvent] = field(default_factory=list)
    grew: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    delay: float = 0.0
    written: int = 0
    writers: int = 0
    closed: int = 0
    largest: int = 0
    keep: bool = True
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    refusal: Exception | None = None
    refuse_from: int = 0
    readers: int = 0
    broken: Exception | None = None

    def settle(self, upload: UploadState) -> UploadState:
        self.record = replace(self.record, upload=upload)
        return upload

    def extend(self, *events: AnalysisEvent) -> None:
        """Append to the log."""
        for event in events:
            self.log.append(event)
            self.record = _after(self.record, event, sum(not isinstance(each, Progress) for each in self.log))
        self.wake()

    def wake(self) -> None:
        self.grew.set()
        self.grew = asyncio.Event()


def _after(record: AnalysisRecord, event: AnalysisEvent, position: int) -> AnalysisRecord:
    match event:
        case Started():
            return replace(record, state=AnalysisState.RUNNING, started=event, last_sequence=position)
        case SegmentClosed():
            return replace(record, segments=record.segments + 1, last_sequence=position)
        case Finished():
            return replace(record, state=AnalysisState.SUCCEEDED, result=event, end_time=BEGAN, last_sequence=position)
        case Failed():
            state = AnalysisState.CANCELLED if event.reason == "CANCELLED" else AnalysisState.FAILED
            return replace(record, state=state, failure=event, end_time=BEGAN, last_sequence=position)
        case _:
            return record


@dataclass
class ScriptedAnalyses:
    """The application. ``refusal`` is raised by whatever is called next."""

    script: Sequence[AnalysisEvent] = field(default_factory=script)
    jobs: dict[str, Job] = field(default_factory=dict)
    specs: list[AnalysisSpec] = field(default_factory=list)
    retried: list[tuple[str, RetryFrom, str]] = field(default_factory=list)
    listed: list[AnalysisFilter] = field(default_factory=list)
    exported: list[str] = field(default_factory=list)
    refusal: Exception | None = None
    export_breaks: Exception | None = None

    def __getitem__(self, analysis_id: str) -> Job:
        if self.refusal is not None:
            raise self.refusal
        if analysis_id not in self.jobs:
            raise NotFound("there is no such analysis", analysis_id=analysis_id)
        return self.jobs[analysis_id]

    async def create(self, spec: AnalysisSpec) -> tuple[AnalysisRecord, bool]:
        if self.refusal is not None:
            raise self.refusal
        for job in self.jobs.values():
            known = job.record.spec
            if spec.request_id and (known.tenant, known.request_id) == (spec.tenant, spec.request_id):
                return job.record, False
        if spec.source.kind is SourceKind.PATH and not spec.source.name.startswith("/allowed/"):
            raise SourceNotAllowed("the path lies outside the allowed roots")
        self.specs.append(spec)
        number = len(self.jobs)
        record = AnalysisRecord(f"a-{number}", spec, AnalysisState.QUEUED, BEGAN + timedelta(seconds=number))
        job = self.jobs[record.id] = Job(record, self.script)
        job.gate.set()
        if spec.source.kind is SourceKind.PATH:
            job.extend(*self.script)
        return job.record, True

    async def estimate(self, spec: AnalysisSpec) -> Estimate:
        if self.refusal is not None:
            raise self.refusal
        return Estimate(("shots",), (MODEL,), MEDIA, processing_ns=2**53 + 1)

    async def upload(self, analysis_id: str) -> Writer:
        job = self[analysis_id]
        if job.record.spec.source.kind is not SourceKind.UPLOAD or job.record.state.ended:
            raise FailedPrecondition("nothing can be uploaded")
        job.writers += 1
        return Writer(job, job.writers)

    async def get(self, analysis_id: str) -> AnalysisRecord:
        return self[analysis_id].record

    async def list(self, query: AnalysisFilter, page_size: int, page_token: str = "") -> Page:
        if self.refusal is not None:
            raise self.refusal
        self.listed.append(query)
        if page_token and not page_token.isdecimal():
            raise InvalidRequest("there is no such page")
        start = int((page_token or "0")[:9])
        records = [job.record for job in reversed(self.jobs.values())]
        end = start + page_size
        return Page(tuple(records[start:end]), str(end) if end < len(records) else "")

    async def events(self, analysis_id: str, after: int = 0) -> AsyncIterator[tuple[int, AnalysisEvent]]:
        job = self[analysis_id]
        job.readers += 1
        try:
            place = position = 0
            while True:
                grew = job.grew
                if job.broken is not None:
                    raise job.broken
                while place < len(job.log):
                    event = job.log[place]
                    place += 1
                    if isinstance(event, Progress):
                        yield 0, event
                        continue
                    position += 1
                    if position > after:
                        yield position, event
                if job.record.state.ended:
                    return
                await grew.wait()
        finally:
            job.readers -= 1

    async def cancel(self, analysis_id: str) -> AnalysisRecord:
        job = self[analysis_id]
        if not job.record.state.ended:
            job.extend(CANCELLED)
        return job.record

    async def retry(self, analysis_id: str, what: RetryFrom, analyzer: str = "") -> AnalysisRecord:
        job = self[analysis_id]
        if not job.record.state.ended:
            raise AnalysisNotEnded("it must end first")
        self.retried.append((analysis_id, what, analyzer))
        record, _ = await self.create(replace(job.record.spec, request_id="", retry_of=analysis_id))
        return record

    async def delete(self, analysis_id: str) -> None:
        if not self[analysis_id].record.state.ended:
            raise AnalysisNotEnded("it must end first")
        del self.jobs[analysis_id]

    async def export(self, analysis_id: str, file_format: str) -> AsyncIterator[bytes]:
        if not self[analysis_id].record.state.ended:
            raise AnalysisNotEnded("it must end first")
        self.exported.append(file_format)
        yield b"first,"
        if self.export_breaks is not None:
            raise self.export_breaks
        yield b"second"

    async def thumbnail(self, analysis_id: str, segment: int) -> bytes:
        if segment >= self[analysis_id].record.segments:
            raise NotFound("there is no such picture")
        return JPEG


@dataclass
class ScriptedSearches:
    """Finds the same segment, whatever is asked."""

    queries: list[SearchQuery] = field(default_factory=list)
    refusal: Exception | None = None

    async def search(self, query: SearchQuery, page_size: int, page_token: str = "") -> SearchPage:
        if self.refusal is not None:
            raise self.refusal
        self.queries.append(query)
        match = Match(MatchKind.TEXT, "a line", 0.9)
        hit = Hit(SegmentRef("a-0", 1), Interval(0, 25, 0, 25), 0, 10**9, Fraction(1, 25), 0.5, (match,))
        return SearchPage((hit,), "" if page_token else "more")

"""A scripted application service in memory behind a real gRPC server on a private unix socket."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import grpc
import pytest

from orchestrator.api.client import Patience, ReelsiftClient, connect
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from orchestrator.api.server import GrpcServer, grpc_server
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
    same_request,
)
from orchestrator.core.media import Ledger, MediaInfo
from orchestrator.core.results import AnalysisEvent, Failed, Finished, Progress, Segment, SegmentClosed, Started
from orchestrator.core.searching import Hit, Match, MatchKind, SearchPage, SearchQuery, SegmentRef
from orchestrator.core.timeline import Interval
from orchestrator.errors import (
    AnalysisNotEnded,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    RequestIdReused,
    SourceNotAllowed,
    UploadOutOfOrder,
)
from orchestrator.pipeline.rollouts import RolloutService
from tests.support.model_server import FakeModelServer, MemoryRollouts
from tests.support.operations import FakeOperations, eventful

MEDIA = MediaInfo("mov", "h264", 64, 48, 0, Fraction(1, 25), 0, None, Fraction(25))
STARTED = Started(MEDIA, "default", ("shots",))
FINISHED = Finished(1, 40_000_000, 10, Ledger(1, 1, 1), False, None, None)
CANCELLED = Failed("CANCELLED", "CANCELLED", "the analysis was cancelled", False)
BORN = datetime(2026, 11, 22, tzinfo=UTC)


def segment(index: int, final: bool = False) -> SegmentClosed:
    """A segment of one frame."""
    return SegmentClosed(Segment(index, Interval(index, index + 1, index, index + 1), (), None, final))


@dataclass
class FakeUpload:
    """An upload in memory; ``gate`` holds appends back."""

    data: bytearray = field(default_factory=bytearray)
    state: UploadState = field(default_factory=UploadState)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    appends: int = 0
    syncs: int = 0
    writers: list[FakeWriter] = field(default_factory=list)

    @property
    def committed(self) -> int:
        return len(self.data)

    @property
    def complete(self) -> bool:
        return self.state.complete


@dataclass
class FakeWriter:
    """A writer of a ``FakeUpload``, until a later one takes it over."""

    upload: FakeUpload
    announced: int | None
    on_finish: Callable[[], None]
    closed: bool = False

    @property
    def committed(self) -> int:
        return self.upload.committed

    def _hold(self) -> None:
        if self.upload.writers[-1] is not self:
            raise UploadOutOfOrder("another writer has taken the upload over", expected_offset=self.committed)

    async def append(self, offset: int, data: bytes) -> int:
        self.upload.appends += 1
        await self.upload.gate.wait()
        self._hold()
        if offset > self.committed:
            raise UploadOutOfOrder("the chunk leaves a gap", expected_offset=self.committed)
        self.upload.data += data[self.committed - offset :]
        return self.committed

    async def sync(self) -> UploadState:
        self._hold()
        self.upload.syncs += 1
        self.upload.state = replace(self.upload.state, committed=self.committed)
        return self.upload.state

    async def finish(self, size: int | None = None) -> UploadState:
        assert size in (None, self.committed)
        await self.sync()
        if not self.upload.complete:
            self.upload.state = UploadState(self.committed, True)
            self.on_finish()
        return self.upload.state

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeAnalyses:
    """Plays ``script``; an upload's analysis answers once the upload has ended. ``refusal`` is raised at create.

    ``log`` and ``uploads`` are those of the newest analysis.
    """

    script: Sequence[AnalysisEvent] = (STARTED, segment(0, final=True), FINISHED)
    refusal: Exception | None = None
    gated: bool = False
    records: dict[str, AnalysisRecord] = field(default_factory=dict)
    logs: dict[str, list[AnalysisEvent]] = field(default_factory=dict)
    uploads: list[FakeUpload] = field(default_factory=list)
    specs: list[AnalysisSpec] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    queries: list[tuple[AnalysisFilter, int, str]] = field(default_factory=list)
    retried: list[tuple[str, RetryFrom, str]] = field(default_factory=list)
    searched: list[tuple[SearchQuery, int, str]] = field(default_factory=list)
    grew: asyncio.Event = field(default_factory=asyncio.Event)
    progress: Progress | None = None
    _uploads: dict[str, FakeUpload] = field(default_factory=dict)

    async def create(self, spec: AnalysisSpec) -> tuple[AnalysisRecord, bool]:
        self.specs.append(spec)
        if self.refusal:
            raise self.refusal
        if spec.source.kind is SourceKind.PATH and not spec.source.name.startswith("/allowed/"):
            raise SourceNotAllowed("the path lies outside the allowed roots")
        for record in self.records.values():
            if spec.request_id and (record.spec.tenant, record.spec.request_id) == (spec.tenant, spec.request_id):
                if not same_request(spec, record.spec):
                    raise RequestIdReused("this request_id was given to another request")
                return await self.get(record.id), False
        return self._add(spec), True

    def _add(self, spec: AnalysisSpec) -> AnalysisRecord:
        number = len(self.records) + 1
        record = AnalysisRecord(f"a-{number}", spec, AnalysisState.QUEUED, BORN + timedelta(seconds=number))
        self.records[record.id] = record
        self.logs[record.id] = []
        if spec.source.kind is SourceKind.PATH:
            self.extend(*self.script, analysis_id=record.id)
        else:
            upload = FakeUpload()
            if not self.gated:
                upload.gate.set()
            self.uploads.append(upload)
            self._uploads[record.id] = upload
        return record

    @property
    def log(self) -> list[AnalysisEvent]:
        return list(self.logs.values())[-1]

    def extend(self, *events: AnalysisEvent, analysis_id: str = "") -> None:
        analysis_id = analysis_id or f"a-{len(self.records)}"
        self.logs[analysis_id].extend(events)
        changes = {}
        for event in events:
            match event:
                case Started():
                    changes |= {"state": AnalysisState.RUNNING, "started": event, "start_time": BORN}
                case Finished():
                    changes |= {"state": AnalysisState.SUCCEEDED, "result": event, "end_time": BORN}
                case Failed(reason=reason):
                    state = AnalysisState.CANCELLED if reason == "CANCELLED" else AnalysisState.FAILED
                    changes |= {"state": state, "failure": event, "end_time": BORN}
        self.records[analysis_id] = replace(
            self.records[analysis_id], last_sequence=len(self.logs[analysis_id]), **changes
        )
        self.grew.set()
        self.grew = asyncio.Event()

    async def estimate(self, spec: AnalysisSpec) -> Estimate:
        self.specs.append(spec)
        if self.refusal:
            raise self.refusal
        return Estimate(("shots",), (), MEDIA, 5, None, ("text",))

    async def upload(self, analysis_id: str) -> FakeWriter:
        record = await self.get(analysis_id)
        if record.spec.source.kind is not SourceKind.UPLOAD or record.state.ended:
            raise FailedPrecondition("this analysis takes no upload")
        upload = self._uploads[analysis_id]
        del upload.data[upload.state.committed :]  # only what was synchronised is sure to be there

        def finished() -> None:
            self.extend(*self.script, analysis_id=analysis_id)

        writer = FakeWriter(upload, record.spec.source.size, finished)
        upload.writers.append(writer)
        return writer

    async def get(self, analysis_id: str) -> AnalysisRecord:
        if analysis_id not in self.records:
            raise NotFound("there is no such analysis", analysis_id=analysis_id)
        record = self.records[analysis_id]
        upload = self._uploads.get(analysis_id)
        return record if upload is None else replace(record, upload=upload.state)

    async def list(self, query: AnalysisFilter, page_size: int, page_token: str = "") -> Page:
        self.queries.append((query, page_size, page_token))
        if page_token and not page_token.isdigit():
            raise InvalidRequest("this page_token is none of ours")
        newest = sorted(self.records.values(), key=lambda record: record.create_time, reverse=True)
        found = [record for record in newest if not query.states or record.state in query.states]
        at = int(page_token or 0)
        rest = found[at + page_size :]
        return Page(tuple(found[at : at + page_size]), str(at + page_size) if rest else "")

    async def events(self, analysis_id: str, after: int = 0) -> AsyncIterator[tuple[int, AnalysisEvent]]:
        await self.get(analysis_id)
        self.reads.append(after)
        while True:
            grew, log = self.grew, self.logs[analysis_id]
            while after < len(log):
                after += 1
                yield after, log[after - 1]
            if log and isinstance(log[-1], Finished | Failed):
                return
            if self.progress is not None:
                yield 0, self.progress
            await grew.wait()

    async def cancel(self, analysis_id: str) -> AnalysisRecord:
        record = await self.get(analysis_id)
        self.cancelled.append(analysis_id)
        if not record.state.ended:
            self.extend(CANCELLED, analysis_id=analysis_id)
        return await self.get(analysis_id)

    async def retry(self, analysis_id: str, what: RetryFrom, analyzer: str = "") -> AnalysisRecord:
        record = await self.get(analysis_id)
        if not record.state.ended:
            raise AnalysisNotEnded("it must end first")
        self.retried.append((analysis_id, what, analyzer))
        return self._add(replace(record.spec, request_id="", retry_of=analysis_id))

    async def delete(self, analysis_id: str) -> None:
        record = await self.get(analysis_id)
        if not record.state.ended:
            raise AnalysisNotEnded("it must end first")
        del self.records[analysis_id]

    async def export(self, analysis_id: str, file_format: str) -> AsyncIterator[bytes]:
        await self.get(analysis_id)
        yield file_format.encode()
        yield bytes(3 << 20)

    async def thumbnail(self, analysis_id: str, segment: int) -> bytes:
        raise AssertionError("gRPC has no method that asks")

    async def search(self, query: SearchQuery, page_size: int, page_token: str = "") -> SearchPage:
        self.searched.append((query, page_size, page_token))
        hit = Hit(
            SegmentRef("a-1", 2),
            Interval(3, 4, 5, 6),
            start_ns=200_000_000,
            end_ns=240_000_000,
            time_base=Fraction(1, 25),
            score=0.5,
            matches=(Match(MatchKind.TEXT, "STOP", 0.75), Match(MatchKind.MEANING, "", 0.25)),
        )
        return SearchPage((hit,), "more")


def serving(
    analyses: FakeAnalyses, rollouts: RolloutService, operations: FakeOperations, address: str
) -> AbstractAsyncContextManager[GrpcServer]:
    return grpc_server(analyses, address, searches=analyses, rollouts=rollouts, operations=operations, grace=0.1)


@dataclass
class Running:
    """A server, and two ways to call it. ``stop`` breaks every connection; ``start`` begins anew at the same address."""

    analyses: FakeAnalyses
    models: FakeModelServer
    rollouts: RolloutService
    operations: FakeOperations
    address: str
    client: ReelsiftClient
    stub: AnalysisServiceStub
    channel: grpc.aio.Channel
    server: GrpcServer
    _open: AbstractAsyncContextManager[GrpcServer]

    async def stop(self) -> None:
        await self.server.stop(0)

    async def start(self) -> None:
        await self._open.__aexit__(None, None, None)
        self._open = serving(self.analyses, self.rollouts, self.operations, self.address)
        self.server = await self._open.__aenter__()

    async def close(self) -> None:
        await self._open.__aexit__(None, None, None)


Run = Callable[[FakeAnalyses], AbstractAsyncContextManager[Running]]
QUICK = Patience(seconds=10, pause=0.02, longest=0.05)


@pytest.fixture
def run() -> Run:
    """Runs a server for a fake service."""

    @asynccontextmanager
    async def running(analyses: FakeAnalyses) -> AsyncIterator[Running]:
        with tempfile.TemporaryDirectory() as folder:
            address = f"unix:{Path(folder) / 'api'}"
            models = FakeModelServer()
            rollouts = RolloutService(models, MemoryRollouts())
            operations = eventful()
            opening = serving(analyses, rollouts, operations, address)
            server = await opening.__aenter__()
            async with connect(address, QUICK) as client, grpc.aio.insecure_channel(address) as channel:
                stub = AnalysisServiceStub(channel)
                here = Running(analyses, models, rollouts, operations, address, client, stub, channel, server, opening)
                try:
                    yield here
                finally:
                    await here.close()

    return running


@pytest.fixture
def fake() -> type[FakeAnalyses]:
    """The fake service's class."""
    return FakeAnalyses


@pytest.fixture
def events() -> dict[str, AnalysisEvent]:
    """Events to make scripts of."""
    return {"started": STARTED, "segment": segment(0), "finished": FINISHED, "cancelled": CANCELLED}


@pytest.fixture
def segments() -> Callable[..., SegmentClosed]:
    """Makes segments of one frame."""
    return segment

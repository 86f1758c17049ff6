"""A scripted application service behind a real gRPC server on a private unix socket."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import grpc
import pytest

from orchestrator.api.client import ReelsiftClient, connect
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from orchestrator.api.server import GrpcServer, grpc_server
from orchestrator.core.media import Ledger, MediaInfo
from orchestrator.core.results import AnalysisEvent, Failed, Finished, Segment, SegmentClosed, Started
from orchestrator.core.timeline import Interval
from orchestrator.errors import NotFound, SourceNotAllowed, UploadOutOfOrder
from orchestrator.pipeline.service import AnalysisConfig

MEDIA = MediaInfo("mov", "h264", 64, 48, 0, Fraction(1, 25), 0, None, Fraction(25))
STARTED = Started(MEDIA, "default", ("shots",))
FINISHED = Finished(1, 40_000_000, 10, Ledger(1, 1, 1), False, None, None)
CANCELLED = Failed("CANCELLED", "CANCELLED", "the analysis was cancelled", False)


def segment(index: int, final: bool = False) -> SegmentClosed:
    """A segment of one frame."""
    return SegmentClosed(Segment(index, Interval(index, index + 1, index, index + 1), (), None, final))


@dataclass
class FakeUpload:
    """An upload in memory; ``gate`` holds appends back."""

    data: bytearray = field(default_factory=bytearray)
    complete: bool = False
    closed: bool = False
    appends: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    on_finish: Callable[[], None] = lambda: None
    control_fd: int = -1

    def fileno(self) -> int:
        return -1

    @property
    def committed(self) -> int:
        return len(self.data)

    async def append(self, offset: int, data: bytes) -> int:
        self.appends += 1
        await self.gate.wait()
        if offset > self.committed:
            raise UploadOutOfOrder("the chunk leaves a gap", expected_offset=self.committed)
        self.data += data[self.committed - offset :]
        return self.committed

    def finish(self) -> None:
        self.complete = True
        self.on_finish()

    def abort(self) -> None:
        raise AssertionError("nobody aborts: a cancelled analysis closes its upload")

    def close(self) -> None:
        self.closed = True


class FakeFile:
    """A file that only knows whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeAnalyses:
    """Plays ``script``; an upload's analysis answers once the upload has ended. ``refusal`` is raised at submit."""

    script: Sequence[AnalysisEvent] = (STARTED, segment(0, final=True), FINISHED)
    refusal: Exception | None = None
    log: list[AnalysisEvent] = field(default_factory=list)
    uploads: list[FakeUpload] = field(default_factory=list)
    configs: list[AnalysisConfig] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    grew: asyncio.Event = field(default_factory=asyncio.Event)
    gated: bool = False
    file: FakeFile | None = None

    async def submit(self, source: object, config: AnalysisConfig) -> str:
        if self.refusal:
            raise self.refusal
        self.configs.append(config)
        if not isinstance(source, FakeUpload):
            self.extend(*self.script)
        return "a-1"

    def extend(self, *events: AnalysisEvent) -> None:
        self.log.extend(events)
        self.grew.set()
        self.grew = asyncio.Event()

    async def open_path(self, path: str) -> FakeFile:
        if not path.startswith("/allowed/"):
            raise SourceNotAllowed("the path lies outside the allowed roots")
        self.file = FakeFile()
        return self.file

    def open_upload(self) -> FakeUpload:
        upload = FakeUpload(on_finish=lambda: self.extend(*self.script))
        if not self.gated:
            upload.gate.set()
        self.uploads.append(upload)
        return upload

    async def events(self, analysis_id: str, after: int = 0) -> AsyncIterator[tuple[int, AnalysisEvent]]:
        if analysis_id != "a-1":
            raise NotFound("there is no such analysis", analysis_id=analysis_id)
        while True:
            grew = self.grew
            while after < len(self.log):
                after += 1
                yield after, self.log[after - 1]
            if self.log and isinstance(self.log[-1], Finished | Failed):
                return
            await grew.wait()

    async def cancel(self, analysis_id: str) -> None:
        if analysis_id != "a-1":
            raise NotFound("there is no such analysis", analysis_id=analysis_id)
        self.cancelled.append(analysis_id)
        for upload in self.uploads:
            upload.close()
        if not (self.log and isinstance(self.log[-1], Finished | Failed)):
            self.extend(CANCELLED)


@dataclass
class Running:
    """A server, and two ways to call it."""

    server: GrpcServer
    client: ReelsiftClient
    stub: AnalysisServiceStub
    channel: grpc.aio.Channel


Run = Callable[[FakeAnalyses], AbstractAsyncContextManager[Running]]


@pytest.fixture
def run() -> Run:
    """Runs a server for a fake service."""

    @asynccontextmanager
    async def running(analyses: FakeAnalyses) -> AsyncIterator[Running]:
        with tempfile.TemporaryDirectory() as folder:
            address = f"unix:{Path(folder) / 'api'}"
            async with (
                grpc_server(analyses, address, grace=0.1) as server,
                connect(address) as client,
                grpc.aio.insecure_channel(address) as channel,
            ):
                yield Running(server, client, AnalysisServiceStub(channel), channel)

    return running


@pytest.fixture
def fake() -> type[FakeAnalyses]:
    """The fake service's class."""
    return FakeAnalyses


@pytest.fixture
def events() -> dict[str, AnalysisEvent]:
    """Events to make scripts of."""
    return {"started": STARTED, "finished": FINISHED, "cancelled": CANCELLED}

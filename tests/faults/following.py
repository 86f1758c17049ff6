"""A client that never gives up: it submits, uploads and watches through every loss of the server, and notes each broken promise."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf import json_format

from orchestrator.api.gen.reelsift.v1 import analysis_pb2 as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub

AWAY = grpc.StatusCode.UNAVAILABLE  # of a call that a kill cut off
CUT = (  # what else gRPC itself says of such a call; the statuses of our own have words
    "Internal error from Core",  # it was just writing
    "CANCELLED",  # it came as the server's grace was over
)
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED  # of a request that may come again
PAUSE_SECONDS = 0.1
PIECES = 12  # of an upload
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.use_local_subchannel_pool", 1),
)


@asynccontextmanager
async def stub(address: str) -> AsyncIterator[AnalysisServiceStub]:
    """A stub that reconnects at once when the server is back."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        yield AnalysisServiceStub(channel)


def may_repeat(error: grpc.aio.AioRpcError) -> bool:
    """Whether the server went away, or will take the request later."""
    return is_away(error) or error.code() is FULL


def is_away(error: grpc.aio.AioRpcError) -> bool:
    """Whether the server went away."""
    return error.code() is AWAY or error.details() in CUT


def plain(response: pb.AnalyzeResponse) -> str:
    """What a logged response says, without what may differ between two runs: names, clocks, frames decoded twice."""
    copy = pb.AnalyzeResponse()
    copy.CopyFrom(response)
    copy.ClearField("analysis_id")
    copy.ClearField("create_time")
    if copy.HasField("finished"):
        copy.finished.elapsed_ns, copy.finished.realtime_factor = 0, 0.0
        copy.finished.ledger.redecoded_frames = 0
    return json_format.MessageToJson(copy, indent=None, sort_keys=True)


@dataclass
class Follower:
    """One analysis and its client. ``upload``: send the bytes; else the server reads ``clip`` itself."""

    request_id: str
    clip: Path
    analyzers: tuple[str, ...]
    upload: bool = False
    analysis_id: str = ""
    log: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    stored: int = 0  # bytes of the upload that were acknowledged
    cuts: int = 0  # calls that the server's death cut off
    done: bool = False

    async def run(self, service: AnalysisServiceStub) -> None:
        """Until the analysis has ended."""
        await self._through(self._create, service)
        sending = asyncio.create_task(self._through(self._send, service)) if self.upload else None
        await self._through(self._watch, service)
        if sending is not None:
            await sending
        self.done = True

    async def _through(
        self, act: Callable[[AnalysisServiceStub], Awaitable[None]], service: AnalysisServiceStub
    ) -> None:
        while True:
            try:
                await act(service)
                return
            except grpc.aio.AioRpcError as error:
                # The status of a watch is how the analysis ended, unless the server went away.
                if not is_away(error) and (act == self._watch or not may_repeat(error)):
                    self.broken.append(f"{error.code().name}: {error.details()}")
                    return
                self.cuts += 1
                await asyncio.sleep(PAUSE_SECONDS)

    async def _create(self, service: AnalysisServiceStub) -> None:
        config = pb.AnalysisConfig(request_id=self.request_id, analyzers=self.analyzers, ignore_known=True)
        if self.upload:
            config.upload.content_length = self.clip.stat().st_size
        else:
            config.path = str(self.clip)
        answer = await service.CreateAnalysis(pb.CreateAnalysisRequest(config=config))
        self.analysis_id = answer.analysis.analysis_id

    async def _send(self, service: AnalysisServiceStub) -> None:
        data = self.clip.read_bytes()
        state = (await service.GetAnalysis(pb.GetAnalysisRequest(analysis_id=self.analysis_id))).analysis.upload
        if state.committed_bytes < self.stored:
            self.broken.append(f"upload: {self.stored} bytes were acknowledged, {state.committed_bytes} are left")
        if state.complete:
            return
        piece = -(-len(data) // PIECES)

        async def requests() -> AsyncIterator[pb.UploadMediaRequest]:
            at = state.committed_bytes
            # A few pieces a call, so that there is an acknowledgement between two losses.
            for end in range(at + piece, at + 3 * piece + 1, piece):
                chunk = pb.UploadChunk(offset=at, data=data[at:end], last=end >= len(data))
                yield pb.UploadMediaRequest(analysis_id=self.analysis_id, chunk=chunk)
                at = min(end, len(data))
                if at == len(data):
                    return
                await asyncio.sleep(PAUSE_SECONDS)

        answer = await service.UploadMedia(requests())
        self.stored = answer.upload.committed_bytes
        if not answer.upload.complete:
            await self._send(service)

    async def _watch(self, service: AnalysisServiceStub) -> None:
        call = service.WatchAnalysis(
            pb.WatchAnalysisRequest(analysis_id=self.analysis_id, after_sequence=len(self.log))
        )
        async for response in call:
            if not response.sequence:
                continue
            if response.sequence != len(self.log) + 1:
                self.broken.append(f"watch: position {response.sequence} follows {len(self.log)}")
            self.log.append(plain(response))
            if response.HasField("finished"):
                return

    async def check(self, service: AnalysisServiceStub, reference: list[str]) -> None:
        """What the server says afterwards is what the client was told, and what an unkilled run says."""
        told, self.log = self.log, []
        await self._through(self._watch, service)
        if self.log != told:
            self.broken.append("log: read again it is another")
        if told != reference:
            self.broken.append(f"result: differs from the unkilled run: {difference(told, reference)}")
        got = (await service.GetAnalysis(pb.GetAnalysisRequest(analysis_id=self.analysis_id))).analysis
        if got.state != pb.ANALYSIS_STATE_SUCCEEDED or got.segment_count != len(told) - 2:
            name = pb.AnalysisState.Name(got.state)
            self.broken.append(f"state: {name}, {got.segment_count} segments, {len(told)} events")


Kind = tuple[str, tuple[str, ...], bool]


class References:
    """The logs of undisturbed runs, by clip and way to the server. ``runs``: those of the last call."""

    def __init__(self) -> None:
        self._logs: dict[Kind, list[str]] = {}
        self.runs: tuple[Follower, ...] = ()

    async def complete(self, service: AnalysisServiceStub, jobs: Sequence[Follower]) -> None:
        """Run each kind of job that is missing. ``AssertionError`` when one fails."""
        kinds = {_kind(job): job for job in jobs if _kind(job) not in self._logs}
        runs = [
            Follower(f"undisturbed-{at}", job.clip, job.analyzers, job.upload) for at, job in enumerate(kinds.values())
        ]
        for run in runs:
            await run.run(service)
            assert not run.broken, run.broken
            self._logs[_kind(run)] = run.log
        self.runs = tuple(runs)

    def of(self, job: Follower) -> list[str]:
        """What ``job`` would have been told, undisturbed."""
        return self._logs[_kind(job)]


def _kind(job: Follower) -> Kind:
    return job.clip.name, job.analyzers, job.upload


def difference(one: list[str], other: list[str]) -> str:
    """Where two logs part."""
    if len(one) != len(other):
        return f"{len(one)} events instead of {len(other)}"
    index = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    a, b = one[index], other[index]
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    near = slice(max(0, at - 60), at + 60)
    return f"event {index + 1}: ...{a[near]}... instead of ...{b[near]}..."


def digest(log: list[str]) -> str:
    """Names a log."""
    return hashlib.sha256("\n".join(log).encode()).hexdigest()[:12]

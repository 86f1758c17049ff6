"""A small client of the service, for the command line and for tests."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from orchestrator.api import messages as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from orchestrator.api.limits import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES
from orchestrator.api.status import ClientError, client_error

__all__ = ["AnalysisOptions", "ClientError", "ReelsiftClient", "connect"]

CHUNK_BYTES = 1 << 20
OWN_END = "Internal error from Core"  # what grpc.aio says of a write that failed
TRUE_END_SECONDS = 1.0  # how long the true status may come after it
PACE_SECONDS = 0.1  # a throttled upload sends so much at a time

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """How to analyse. ``timeout`` is the deadline in seconds."""

    profile: str = ""
    analyzers: Sequence[str] = ()
    request_id: str = ""
    priority: int = 0
    timeout: float | None = None


class ReelsiftClient:
    """Calls a server. Every method raises :class:`ClientError`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = AnalysisServiceStub(channel)

    def analyze_path(
        self, path: str, options: AnalysisOptions = AnalysisOptions()
    ) -> AsyncIterator[pb.AnalyzeResponse]:
        """Analyse a file that the server can read itself."""
        return self._analyze(pb.AnalysisConfig(path=path), _nothing(), options)

    def analyze_file(
        self,
        path: Path,
        options: AnalysisOptions = AnalysisOptions(),
        *,
        chunk_bytes: int = CHUNK_BYTES,
        bytes_per_second: float | None = None,
    ) -> AsyncIterator[pb.AnalyzeResponse]:
        """Upload ``path``, at no more than ``bytes_per_second``, and analyse it meanwhile. Raises ``OSError`` too."""
        length = path.stat().st_size if path.is_file() else None  # a pipe has no size
        return self.analyze_stream(read_chunks(path, chunk_bytes, bytes_per_second), options, content_length=length)

    def analyze_stream(
        self,
        data: AsyncIterator[bytes],
        options: AnalysisOptions = AnalysisOptions(),
        *,
        content_length: int | None = None,
    ) -> AsyncIterator[pb.AnalyzeResponse]:
        """Upload ``data`` as it comes and analyse it meanwhile."""
        config = pb.AnalysisConfig(upload=pb.Upload(content_length=content_length))
        return self._analyze(config, data, options)

    async def watch(self, analysis_id: str, after_sequence: int = 0) -> AsyncIterator[pb.AnalyzeResponse]:
        """The responses of a running or ended analysis with a sequence above ``after_sequence``."""
        request = pb.WatchAnalysisRequest(analysis_id=analysis_id, after_sequence=after_sequence)
        try:
            async for response in self._stub.WatchAnalysis(request):
                yield response
        except grpc.aio.AioRpcError as error:
            raise client_error(error) from None

    async def cancel(self, analysis_id: str) -> None:
        """Stop an analysis."""
        try:
            await self._stub.CancelAnalysis(pb.CancelAnalysisRequest(analysis_id=analysis_id))
        except grpc.aio.AioRpcError as error:
            raise client_error(error) from None

    async def _analyze(
        self, config: pb.AnalysisConfig, data: AsyncIterator[bytes], options: AnalysisOptions
    ) -> AsyncIterator[pb.AnalyzeResponse]:
        config.profile = options.profile
        config.analyzers.extend(options.analyzers)
        config.request_id = options.request_id
        config.priority = options.priority
        reading: list[Exception] = []

        async def requests() -> AsyncIterator[pb.AnalyzeRequest]:
            yield pb.AnalyzeRequest(config=config)
            offset = 0
            try:
                async for piece in data:
                    yield pb.AnalyzeRequest(chunk=pb.UploadChunk(offset=offset, data=piece))
                    offset += len(piece)
            except Exception as error:
                reading.append(error)
                call.cancel()
                raise
            if config.HasField("upload"):
                yield pb.AnalyzeRequest(chunk=pb.UploadChunk(offset=offset, last=True))

        call = self._stub.Analyze(requests(), timeout=options.timeout)
        ends: list[grpc.aio.AioRpcError] = []
        call.add_done_callback(lambda _: ends.append(_end_of(call)))
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise client_error(await _true_end(call, [*ends, error])) from None
        except asyncio.CancelledError:
            if not reading:
                raise
        finally:
            call.cancel()
        if reading:  # our own source failed, not the server
            raise reading[0]


async def _true_end(call: grpc.aio.Call, ends: Sequence[grpc.aio.AioRpcError]) -> grpc.aio.AioRpcError:
    """The status that ``call`` really ended with.

    A write that meets the end of the call sets a status of grpc.aio's own (grpc/grpc#36066): over the true one, which
    ``ends`` then holds, or before it.
    """
    deadline = time.monotonic() + TRUE_END_SECONDS
    end = next((end for end in ends if end.details() != OWN_END), None)
    while end is None and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        latest = _end_of(call)
        end = latest if latest.details() != OWN_END else None
    return end or ends[-1]


def _end_of(call: grpc.aio.Call) -> grpc.aio.AioRpcError:
    """The status of a call that is done. None of these coroutines waits then."""
    code, trailing, details = (_now(each) for each in (call.code(), call.trailing_metadata(), call.details()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)


def _now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("a call that is done knows its status")


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[ReelsiftClient]:
    """A client of the server at ``address`` (``HOST:PORT`` or ``unix:PATH``)."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        yield ReelsiftClient(channel)


async def read_chunks(
    path: Path, chunk_bytes: int = CHUNK_BYTES, bytes_per_second: float | None = None
) -> AsyncIterator[bytes]:
    """The bytes of ``path`` in pieces of ``chunk_bytes``, or smaller ones no faster than ``bytes_per_second``."""
    if bytes_per_second is not None:
        chunk_bytes = max(1, min(chunk_bytes, int(bytes_per_second * PACE_SECONDS)))
    began, sent = time.monotonic(), 0
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while piece := await asyncio.to_thread(os.read, descriptor, chunk_bytes):
            sent += len(piece)
            if bytes_per_second is not None:
                await asyncio.sleep(max(0.0, began + sent / bytes_per_second - time.monotonic()))
            yield piece
    finally:
        os.close(descriptor)


async def _nothing() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece

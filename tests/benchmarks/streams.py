"""Results out, and uploads in: the same client against our service and a bare server, message by message.

The client is the stub alone, so that what differs is the server.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import grpc

from orchestrator.api import messages as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from tests.benchmarks.cpu import settle, tree_cpu

OPTIONS = (("grpc.max_receive_message_length", 16 << 20),)
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Streamed:
    """``units`` (messages, or bytes) in ``wall`` seconds, for ``cpu`` seconds of server and client together."""

    units: int
    wall: float
    cpu: float

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.units / self.wall


async def watch(address: str, pid: int, analysis: str) -> tuple[Streamed, list[pb.AnalyzeResponse]]:
    """Read the log of an ended analysis from its beginning."""
    settle(pid)
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub = AnalysisServiceStub(channel)
        wall, cpu = time.perf_counter(), tree_cpu(pid) + time.process_time()
        messages = [message async for message in stub.WatchAnalysis(pb.WatchAnalysisRequest(analysis_id=analysis))]
        cpu = tree_cpu(pid) + time.process_time() - cpu
        return Streamed(len(messages), time.perf_counter() - wall, cpu), messages


async def upload(address: str, pid: int, nbytes: int, *, create: bool) -> Streamed:
    """Send a media of ``nbytes`` in equal chunks. Where it has to be created, it is an MP4 whose boxes say that the video is at its
    end, so that nothing is decoded meanwhile, and deleted afterwards.
    """
    settle(pid)
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub = AnalysisServiceStub(channel)
        analysis = ""
        if create:
            config = pb.AnalysisConfig(upload=pb.Upload(content_length=nbytes))
            created = await stub.CreateAnalysis(pb.CreateAnalysisRequest(config=config))
            analysis = created.analysis.analysis_id
        wall, cpu = time.perf_counter(), tree_cpu(pid) + time.process_time()
        answer = await stub.UploadMedia(_requests(analysis, nbytes))
        wall, cpu = time.perf_counter() - wall, tree_cpu(pid) + time.process_time() - cpu
        if answer.upload.committed_bytes != nbytes:
            raise RuntimeError(f"{answer.upload.committed_bytes} of {nbytes} bytes have arrived")
        if create:
            await stub.CancelAnalysis(pb.CancelAnalysisRequest(analysis_id=analysis))
            with suppress(grpc.aio.AioRpcError):  # it holds no video
                async for _ in stub.WatchAnalysis(pb.WatchAnalysisRequest(analysis_id=analysis)):
                    pass
            await stub.DeleteAnalysis(pb.DeleteAnalysisRequest(analysis_id=analysis))
        return Streamed(nbytes, wall, cpu)


async def _requests(analysis: str, nbytes: int) -> AsyncIterator[pb.UploadMediaRequest]:
    head = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom")
    head += struct.pack(">I4sQ", 1, b"free", nbytes - len(head))  # a box of 64-bit size, to the end
    noise = os.urandom(CHUNK)
    for offset in range(0, nbytes, CHUNK):
        data = noise if offset else head + noise[len(head) :]
        chunk = pb.UploadChunk(offset=offset, data=data, last=offset + CHUNK >= nbytes)
        yield pb.UploadMediaRequest(analysis_id=analysis, chunk=chunk)

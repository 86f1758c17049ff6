"""What gRPC itself can do: a server that sends messages which are ready, and takes uploads that it forgets, or only writes down.

    python -m tests.benchmarks.bare_server ADDRESS MESSAGES [UPLOAD]

MESSAGES is a file of AnalyzeResponse, each behind its length; uploads go into the file UPLOAD, if there is one.

As ours, it is grpc.aio over uvloop, with our messages.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import uvloop

from orchestrator.api import messages as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import (
    AnalysisServiceServicer,
    add_AnalysisServiceServicer_to_server,
)
from tests.benchmarks.streams import OPTIONS

_LENGTH = struct.Struct("<I")


def pack(messages: Iterable[pb.AnalyzeResponse]) -> bytes:
    """Messages for such a file."""
    whole = [message.SerializeToString() for message in messages]
    return b"".join(_LENGTH.pack(len(data)) + data for data in whole)


def unpack(data: bytes) -> list[pb.AnalyzeResponse]:
    """The messages of such a file."""
    messages, at = [], 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        messages.append(pb.AnalyzeResponse.FromString(data[at : at + size]))
        at += size
    return messages


class Bare(AnalysisServiceServicer):
    """The two streams, without a service behind them."""

    def __init__(self, messages: list[pb.AnalyzeResponse], upload: str | None) -> None:
        self._messages, self._upload = messages, upload

    async def WatchAnalysis(  # noqa: N802 - gRPC's name
        self, request: pb.WatchAnalysisRequest, context: object
    ) -> AsyncIterator[pb.AnalyzeResponse]:
        for message in self._messages:
            yield message

    async def UploadMedia(  # noqa: N802 - gRPC's name
        self, request_iterator: AsyncIterator[pb.UploadMediaRequest], context: object
    ) -> pb.UploadMediaResponse:
        taken = 0
        file = os.open(self._upload, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if self._upload else None
        async for request in request_iterator:
            data = request.chunk.data
            if file is not None:
                os.pwrite(file, data, taken)
            taken += len(data)
        if file is not None:
            os.close(file)
        return pb.UploadMediaResponse(upload=pb.UploadProgress(committed_bytes=taken, complete=True))


async def main(address: str, messages: list[pb.AnalyzeResponse], upload: str | None = None) -> None:
    """Serve for ever."""
    server = grpc.aio.server(options=OPTIONS)
    add_AnalysisServiceServicer_to_server(Bare(messages, upload), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(sys.argv[1], unpack(Path(sys.argv[2]).read_bytes()), *sys.argv[3:]))

"""Calls of the gRPC API, message by message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest

from orchestrator.api import messages as pb

UPLOAD = pb.AnalyzeRequest(config=pb.AnalysisConfig(upload=pb.Upload()))


def chunk(offset: int, data: bytes = b"", last: bool = False) -> pb.AnalyzeRequest:
    return pb.AnalyzeRequest(chunk=pb.UploadChunk(offset=offset, data=data, last=last))


async def requests(messages: Sequence[pb.AnalyzeRequest], hold: bool = False) -> AsyncIterator[pb.AnalyzeRequest]:
    """``messages``, then the client's half closes, unless it is held open."""
    for message in messages:
        yield message
    if hold:
        await asyncio.Event().wait()


async def kinds(responses) -> list[tuple[str, int]]:
    return [(response.WhichOneof("event"), response.sequence) async for response in responses]


async def settled(condition, seconds: float = 3.0) -> None:
    """Wait until ``condition()`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def refusal(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await kinds(call)
    return caught.value

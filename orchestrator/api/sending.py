"""Calls that send a media's bytes, as the client makes them."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc

from orchestrator.api import messages as pb
from orchestrator.api.status import client_error

CHUNK_BYTES = 1 << 20
OWN_END = "Internal error from Core"  # what grpc.aio says of a write that failed
TRUE_END_SECONDS = 1.0  # how long the true status may come after it
PACE_SECONDS = 0.1  # a throttled upload sends so much at a time

Request = TypeVar("Request", pb.AnalyzeRequest, pb.UploadMediaRequest)


@dataclass(frozen=True, slots=True)
class Source:
    """A media to send. ``read`` gives its bytes from an offset on; ``again``: more than once. ``size`` may be unknown."""

    read: Callable[[int], AsyncIterator[bytes]]
    again: bool
    size: int | None = None


def file_source(path: Path, chunk_bytes: int = CHUNK_BYTES, bytes_per_second: float | None = None) -> Source:
    """The file at ``path``; a pipe can be read once and has no size. Raises ``OSError``."""
    status = path.stat()
    regular = stat.S_ISREG(status.st_mode)

    def read(offset: int) -> AsyncIterator[bytes]:
        return read_chunks(path, chunk_bytes, bytes_per_second, offset)

    return Source(read, regular, status.st_size if regular else None)


def stream_source(data: AsyncIterator[bytes], size: int | None = None) -> Source:
    """Bytes that come once."""
    return Source(lambda _: data, again=False, size=size)


async def read_chunks(
    path: Path, chunk_bytes: int = CHUNK_BYTES, bytes_per_second: float | None = None, offset: int = 0
) -> AsyncIterator[bytes]:
    """The bytes of ``path`` from ``offset`` in pieces of ``chunk_bytes``, or smaller ones no faster than
    ``bytes_per_second``."""
    if bytes_per_second is not None:
        chunk_bytes = max(1, min(chunk_bytes, int(bytes_per_second * PACE_SECONDS)))
    began, sent = time.monotonic(), 0
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if offset:
            os.lseek(descriptor, offset, os.SEEK_SET)
        while piece := await asyncio.to_thread(os.read, descriptor, chunk_bytes):
            sent += len(piece)
            if bytes_per_second is not None:
                await asyncio.sleep(max(0.0, began + sent / bytes_per_second - time.monotonic()))
            yield piece
    finally:
        os.close(descriptor)


async def chunks(source: Source, offset: int) -> AsyncIterator[pb.UploadChunk]:
    """``source`` from ``offset`` on, and the last word."""
    async for piece in source.read(offset):
        yield pb.UploadChunk(offset=offset, data=piece)
        offset += len(piece)
    yield pb.UploadChunk(offset=offset, last=True)


class Sending:
    """The requests of one call. An error of our own source ends the call; it is raised instead of the call's status."""

    def __init__(self) -> None:
        self._failure: Exception | None = None
        self._call: grpc.aio.Call | None = None
        self._ends: list[grpc.aio.AioRpcError] = []

    async def requests(self, messages: AsyncIterator[Request]) -> AsyncIterator[Request]:
        """Pass ``messages`` on."""
        try:
            async for message in messages:
                yield message
        except Exception as error:
            self._failure = error
            if self._call is not None:
                self._call.cancel()
            raise

    def watch(self, call: grpc.aio.Call) -> None:
        """``call`` is the one that sends the requests."""
        self._call = call
        call.add_done_callback(lambda _: self._ends.append(_end_of(call)))

    async def error(self, error: grpc.aio.AioRpcError | asyncio.CancelledError) -> BaseException:
        """What ``error``, which the call raised, really is."""
        if self._failure is not None:  # our own source failed, not the server
            return self._failure
        if isinstance(error, asyncio.CancelledError) or self._call is None:
            return error
        return client_error(await _true_end(self._call, [*self._ends, error]))


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

"""The server's half of an upload, chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.api import messages as pb
from orchestrator.api.receiving import AHEAD, Reception
from orchestrator.core.jobs import UploadState
from orchestrator.errors import DiskFull, InvalidRequest

SIZE = 10
SECONDS = 5.0


class Writer:
    """Keeps bytes; writes only while ``open`` is set, and fails at ``full`` bytes."""

    def __init__(self, full: int = 1 << 30) -> None:
        self.data, self.full = b"", full
        self.open = asyncio.Event()
        self.open.set()

    @property
    def committed(self) -> int:
        return len(self.data)

    async def append(self, offset: int, data: bytes) -> int:
        await self.open.wait()
        if len(self.data) + len(data) > self.full:
            raise DiskFull("no room for the upload")
        assert offset == len(self.data)
        self.data += data
        return len(self.data)

    async def sync(self) -> UploadState:
        return UploadState(len(self.data), False)

    async def finish(self, size: int | None = None) -> UploadState:
        return UploadState(len(self.data), True)

    def close(self) -> None:
        pass


class Client:
    """Sends ``count`` chunks, then waits for ever unless it ``ends``; ``sent`` counts what was asked of it."""

    def __init__(self, count: int, *, ends: bool = True) -> None:
        self._count, self._ends = count, ends
        self.sent = 0

    async def chunks(self) -> AsyncIterator[pb.UploadChunk]:
        for number in range(self._count):
            self.sent += 1
            last = self._ends and number + 1 == self._count
            yield pb.UploadChunk(offset=number * SIZE, data=bytes([number]) * SIZE, last=last)
        if not self._ends:
            await asyncio.Event().wait()


async def test_chunks_are_written_in_order() -> None:
    writer, client = Writer(), Client(50)
    state = await asyncio.wait_for(Reception(writer, None).run(client.chunks()), SECONDS)
    assert state == UploadState(50 * SIZE, True)
    assert writer.data == b"".join(bytes([number]) * SIZE for number in range(50))


async def test_a_client_gets_one_chunk_ahead_of_the_disk_and_no_further() -> None:
    writer, client = Writer(), Client(50)
    writer.open.clear()
    running = asyncio.create_task(Reception(writer, None).run(client.chunks()))
    for _ in range(200):
        await asyncio.sleep(0)
    assert client.sent == AHEAD
    writer.open.set()
    assert (await asyncio.wait_for(running, SECONDS)).complete


async def test_a_disk_that_is_full_is_told_at_once_though_the_client_sends_no_more() -> None:
    writer = Writer(full=2 * SIZE)
    with pytest.raises(DiskFull):
        await asyncio.wait_for(Reception(writer, None).run(Client(3, ends=False).chunks()), SECONDS)
    assert len(writer.data) == 2 * SIZE


async def test_what_came_before_a_bad_chunk_is_kept() -> None:
    async def chunks() -> AsyncIterator[pb.UploadChunk]:
        yield pb.UploadChunk(offset=0, data=b"good")
        yield pb.UploadChunk(offset=-1, data=b"bad")

    writer = Writer()
    with pytest.raises(InvalidRequest, match="negative"):
        await asyncio.wait_for(Reception(writer, None).run(chunks()), SECONDS)
    assert writer.data == b"good"


async def test_an_error_of_the_stream_is_raised_after_what_it_brought() -> None:
    async def chunks() -> AsyncIterator[pb.UploadChunk]:
        yield pb.UploadChunk(offset=0, data=b"good")
        raise InvalidRequest("only chunks may follow the configuration")

    writer = Writer()
    with pytest.raises(InvalidRequest, match="only chunks"):
        await asyncio.wait_for(Reception(writer, None).run(chunks()), SECONDS)
    assert writer.data == b"good"


@pytest.mark.parametrize(("announced", "complete"), [(2 * SIZE, True), (3 * SIZE, False), (None, False)])
async def test_a_stream_without_a_last_chunk_is_complete_if_all_came(announced: int | None, complete: bool) -> None:
    async def chunks() -> AsyncIterator[pb.UploadChunk]:
        for number in range(2):
            yield pb.UploadChunk(offset=number * SIZE, data=bytes(SIZE))

    state = await asyncio.wait_for(Reception(Writer(), announced).run(chunks()), SECONDS)
    assert state == UploadState(2 * SIZE, complete)

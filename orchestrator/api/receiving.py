"""The client's half of an upload: chunks in, bytes on the disk, acknowledgements out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog

from orchestrator.api import messages as pb
from orchestrator.api.ports import UploadWriter
from orchestrator.core.jobs import UploadState
from orchestrator.errors import InvalidRequest, ReelsiftError

log = structlog.get_logger(__name__)

SYNC_BYTES, MOST_BYTES = 1 << 20, 32 << 20
SYNC_SECONDS = 0.25
SETTLE_SECONDS = 0.05
AHEAD = 2  # chunks in hand: one is written, one is read meanwhile


class Reception:
    """Takes one client's chunks for an upload of ``announced`` bytes (``None``: unknown) that stands at ``state``.

    What was written is synchronised ``SYNC_SECONDS`` after a byte was written; at once when it is ``SYNC_BYTES`` and the last time was
    so long ago, or when it is ``MOST_BYTES``; and when the client breaks off. That runs beside the writing, and acknowledging beside
    both: a client that does not read its acknowledgements cannot hold its own upload.
    """

    def __init__(self, writer: UploadWriter, announced: int | None, state: UploadState | None = None) -> None:
        self._writer = writer
        self._announced = announced
        self._written = self._synced = writer.committed
        self._synced_at = -SYNC_SECONDS
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._closing = False
        self._news = asyncio.Event()
        self._over = False
        self._publish(state or UploadState())

    async def run(self, chunks: AsyncIterator[pb.UploadChunk]) -> UploadState:
        """Write ``chunks`` until the last one; complete then. Without a last one, as far as they came, it stays incomplete
        unless all that was announced is there: a client that vanished looks like one that closed its half.

        A chunk is read while the one before is written, but no sooner: that is the client's backpressure. Raises
        ``InvalidRequest``, and what the writer raises.
        """
        syncing = asyncio.create_task(self._synchronise())
        writing = asyncio.create_task(self._write(chunks))
        for task in (syncing, writing):  # one error is told; the other, if there is one, follows from it
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait({writing, syncing}, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                syncing.result()  # it failed: otherwise it ends after the writing alone
            if writing.result():
                self._check_length()
                self._synced = self._written  # finishing synchronises
                await self._close(syncing)
                self._publish(await self._writer.finish(self._announced))
            else:
                await self._close(syncing)
                self._publish(await self._writer.sync())
            return self._state
        finally:
            writing.cancel()
            await asyncio.wait({writing})
            if not syncing.done():  # what has come shall not be sent again
                with suppress(ReelsiftError, OSError, ValueError):
                    await self._close(syncing)
            self._over = True
            self._news.set()

    async def acknowledgements(self) -> AsyncIterator[UploadState]:
        """What is on the disk, at once and whenever it grows, the newest alone, until ``run`` has ended."""
        told: UploadState | None = None
        while True:
            await self._news.wait()
            self._news.clear()
            if self._state != told:
                told = self._state
                yield told
            elif self._over:
                return
            if self._over:
                self._news.set()

    async def _write(self, chunks: AsyncIterator[pb.UploadChunk]) -> bool:
        """Whether the media ends here."""
        read: asyncio.Queue[pb.UploadChunk | None] = asyncio.Queue()
        room = asyncio.Semaphore(AHEAD)
        reading = asyncio.create_task(_read(chunks, read, room))
        reading.add_done_callback(lambda _: read.put_nowait(None))
        try:
            while (chunk := await read.get()) is not None:
                self._check(chunk)
                await self._append(chunk)
                room.release()
                if chunk.last:
                    return True
            reading.result()
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        # gRPC shows a client that vanished as one that closed its half, and cancels the call a moment later
        await asyncio.sleep(SETTLE_SECONDS)
        return self._written == self._announced

    async def _append(self, chunk: pb.UploadChunk) -> None:
        committed = await self._writer.append(chunk.offset, chunk.data)
        if committed != self._written:
            self._written = committed
            self._some.set()
            unsafe, rested = committed - self._synced, time.monotonic() - self._synced_at >= SYNC_SECONDS
            if unsafe >= MOST_BYTES or (unsafe >= SYNC_BYTES and rested):
                self._enough.set()

    def _check(self, chunk: pb.UploadChunk) -> None:
        if chunk.offset < 0:
            raise InvalidRequest(f"a chunk's offset must not be negative, got {chunk.offset}")
        if self._announced is not None and chunk.offset + len(chunk.data) > self._announced:
            raise InvalidRequest(f"the upload is longer than its announced {self._announced} bytes")

    def _check_length(self) -> None:
        if self._announced is not None and self._written != self._announced:
            raise InvalidRequest(
                f"the upload ended after {self._written} of its announced {self._announced} bytes",
                expected_offset=self._written,
            )

    async def _synchronise(self) -> None:
        """Sync whenever it is due, until closed."""
        while not (self._closing and self._synced == self._written):
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(SYNC_SECONDS):
                    await self._enough.wait()
            self._some.clear()
            if not self._closing:
                self._enough.clear()
            if self._synced != self._written:
                written = self._written
                self._publish(await self._writer.sync())
                self._synced, self._synced_at = max(self._synced, written), time.monotonic()

    async def _close(self, syncing: asyncio.Task[None]) -> None:
        self._closing = True
        self._some.set()
        self._enough.set()
        await syncing

    def _publish(self, state: UploadState) -> None:
        self._state = state
        self._news.set()


async def _read(
    chunks: AsyncIterator[pb.UploadChunk], read: asyncio.Queue[pb.UploadChunk | None], room: asyncio.Semaphore
) -> None:
    await room.acquire()
    async for chunk in chunks:
        read.put_nowait(chunk)
        if chunk.last:
            return
        await room.acquire()

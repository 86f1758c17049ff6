"""The client's half of an upload: chunks in, acknowledgements out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from orchestrator.api import messages as pb
from orchestrator.errors import InvalidRequest
from orchestrator.pipeline.service import Upload

ACK_BYTES = 1 << 20
ACK_SECONDS = 0.25
SETTLE_SECONDS = 0.05


async def receive(
    requests: AsyncIterator[pb.AnalyzeRequest],
    upload: Upload,
    content_length: int | None,
    stored: Callable[[int], None],
) -> None:
    """Feed ``upload`` until its last chunk, or until the client closes its half.

    The next request is read only after the one before is stored: that is the client's backpressure. ``stored`` hears of
    the committed size after every chunk. A chunk already stored is ignored. Raises ``UploadOutOfOrder`` for a gap.
    """
    async for request in requests:
        if request.WhichOneof("message") != "chunk":
            raise InvalidRequest("only chunks may follow the configuration")
        chunk = request.chunk
        if chunk.offset < 0:
            raise InvalidRequest(f"a chunk's offset must not be negative, got {chunk.offset}")
        if content_length is not None and chunk.offset + len(chunk.data) > content_length:
            raise InvalidRequest(f"the upload is longer than its announced {content_length} bytes")
        stored(await upload.append(chunk.offset, chunk.data))
        if chunk.last:
            break
    else:
        # gRPC shows a client that vanished as one that closed its half, and cancels the call a moment later
        await asyncio.sleep(SETTLE_SECONDS)
    if content_length is not None and upload.committed != content_length:
        raise InvalidRequest(
            f"the upload ended after {upload.committed} of its announced {content_length} bytes",
            expected_offset=upload.committed,
        )
    upload.finish()


class Acknowledgements:
    """Tells the client how much is stored: after every ``ACK_BYTES``, or ``ACK_SECONDS`` after a byte was stored.

    It runs beside the receiver, so a client that does not read its acknowledgements cannot hold its own upload.
    """

    def __init__(self) -> None:
        self._committed = 0
        self._told = 0
        self._closed = False
        self._some = asyncio.Event()
        self._enough = asyncio.Event()

    def stored(self, committed: int) -> None:
        """``committed`` bytes are stored."""
        self._committed = committed
        self._some.set()
        if committed - self._told >= ACK_BYTES:
            self._enough.set()

    def close(self) -> None:
        """No more bytes will come: tell the rest and end."""
        self._closed = True
        self._some.set()
        self._enough.set()

    async def run(self, tell: Callable[[int], Awaitable[None]]) -> None:
        """Call ``tell`` with the committed size whenever it is due, until closed."""
        while not (self._closed and self._told == self._committed):
            await self._some.wait()
            try:
                async with asyncio.timeout(ACK_SECONDS):
                    await self._enough.wait()
            except TimeoutError:
                pass
            self._some.clear()
            if not self._closed:
                self._enough.clear()
            if self._committed != self._told:
                self._told = self._committed
                await tell(self._told)

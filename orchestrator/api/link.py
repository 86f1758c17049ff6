"""The client's side of a connection that may break: each request and each stream goes on where it stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

import grpc

from orchestrator.api import messages as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from orchestrator.api.patience import Patience, Waiting, is_loss
from orchestrator.api.sending import Sending, Source, chunks
from orchestrator.api.status import ClientError, client_error

LAST_WORD_SECONDS = 1.0  # for an analysis that takes no more bytes to say how it ended

Answer = TypeVar("Answer")
Responses = AsyncGenerator[pb.AnalyzeResponse, None]


class Link:
    """Calls a server again when the connection, or the server, was lost. ``deadline``: of the monotonic clock.

    A server that never answered yet is not waited for: most likely its address is wrong.
    """

    def __init__(self, stub: AnalysisServiceStub, patience: Patience, timeout: float | None) -> None:
        self._stub = stub
        self._patience = patience
        self._timeout = timeout
        self._met = False

    async def ask(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        """The answer to a request that may be sent more than once."""
        waiting = Waiting(self._patience)
        while True:
            try:
                answer = await method(request, timeout=self._timeout)
            except grpc.aio.AioRpcError as error:
                await self._bear(waiting, client_error(error))
            else:
                self._met = True
                return answer

    async def watch(self, analysis_id: str, after: int, deadline: float | None = None) -> Responses:
        """The responses after position ``after``, each logged one once."""
        waiting = Waiting(self._patience)
        while True:
            request = pb.WatchAnalysisRequest(analysis_id=analysis_id, after_sequence=after)
            call = self._stub.WatchAnalysis(request, timeout=_left(deadline))
            try:
                async for response in call:
                    self._met = True
                    waiting.answered()
                    after = max(after, response.sequence)
                    yield response
                return
            except grpc.aio.AioRpcError as error:
                await self._bear(waiting, client_error(error))
            finally:
                call.cancel()

    async def upload(
        self, analysis_id: str, source: Source, deadline: float | None = None, *, unread: bool = True
    ) -> pb.UploadProgress:
        """Send ``source`` from the committed offset on, until the upload is complete. ``unread``: it was not read yet."""
        waiting = Waiting(self._patience)
        committed = -1
        while True:
            upload = await self._committed(analysis_id)
            if upload.complete:
                return upload
            if upload.committed_bytes > committed:
                committed = upload.committed_bytes
                waiting.answered()
            if not source.again and (committed or not unread):
                raise ClientError(
                    "the connection was lost in the midst of an upload that cannot be read again",
                    reason="UNAVAILABLE",
                    grpc_code="UNAVAILABLE",
                    typed=False,
                )
            unread = False
            try:
                return await self._send(analysis_id, source, committed, deadline)
            except ClientError as error:
                # Out of order: the server lost what it had not acknowledged, or another writer was there
                await self._bear(waiting, error, lost=error.reason == "UPLOAD_OUT_OF_ORDER")

    async def analyze(
        self, config: pb.AnalysisConfig, source: Source | None, deadline: float | None = None
    ) -> Responses:
        """One call of Analyze; when it is lost, the rest by UploadMedia and WatchAnalysis."""
        waiting = Waiting(self._patience)
        analysis_id, after = "", 0
        while not analysis_id:
            try:
                async for response in self._analyze(config, source, deadline):
                    self._met = True
                    analysis_id = response.analysis_id
                    after = max(after, response.sequence)
                    yield response
                return
            except ClientError as error:
                if config.cancel_on_disconnect or not is_loss(error):
                    raise
                if not analysis_id:  # sent again, the request is the same one
                    if source is not None and not source.again:
                        raise
                    await self._bear(waiting, error)
        async with aclosing(self._resume(analysis_id, after, source, deadline)) as responses:
            async for response in responses:
                yield response

    async def _resume(self, analysis_id: str, after: int, source: Source | None, deadline: float | None) -> Responses:
        """Send the rest and watch the rest, side by side."""
        responses = self.watch(analysis_id, after, deadline)
        sending = asyncio.create_task(self._rest(analysis_id, source, deadline))
        coming = asyncio.create_task(_next(responses))
        try:
            while True:
                await asyncio.wait({coming, sending}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done() and sending.exception() is not None:
                    # Perhaps because the analysis has ended: then it has the last word
                    await asyncio.wait({coming}, timeout=LAST_WORD_SECONDS)
                    if not coming.done():
                        sending.result()
                response = await coming
                if response is None:
                    return
                yield response
                coming = asyncio.create_task(_next(responses))
        finally:
            coming.cancel()
            sending.cancel()
            await asyncio.gather(coming, sending, return_exceptions=True)

    async def _rest(self, analysis_id: str, source: Source | None, deadline: float | None) -> None:
        if source is not None:
            await self.upload(analysis_id, source, deadline, unread=False)

    async def _analyze(self, config: pb.AnalysisConfig, source: Source | None, deadline: float | None) -> Responses:
        sending = Sending()

        async def requests() -> AsyncIterator[pb.AnalyzeRequest]:
            yield pb.AnalyzeRequest(config=config)
            if source is not None:
                async for chunk in chunks(source, 0):
                    yield pb.AnalyzeRequest(chunk=chunk)

        call = self._stub.Analyze(sending.requests(requests()), timeout=_left(deadline))
        sending.watch(call)
        try:
            async for response in call:
                yield response
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            raise await sending.error(error) from None
        finally:
            call.cancel()

    async def _send(self, analysis_id: str, source: Source, offset: int, deadline: float | None) -> pb.UploadProgress:
        sending = Sending()

        async def requests() -> AsyncIterator[pb.UploadMediaRequest]:
            async for chunk in chunks(source, offset):
                yield pb.UploadMediaRequest(analysis_id=analysis_id, chunk=chunk)

        call = self._stub.UploadMedia(sending.requests(requests()), timeout=_left(deadline))
        sending.watch(call)
        try:
            return (await call).upload
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            raise await sending.error(error) from None
        finally:
            call.cancel()

    async def _committed(self, analysis_id: str) -> pb.UploadProgress:
        request = pb.GetAnalysisRequest(analysis_id=analysis_id)
        return (await self.ask(self._stub.GetAnalysis, request)).analysis.upload

    async def _bear(self, waiting: Waiting, error: ClientError, *, lost: bool = False) -> None:
        """Wait before the next try. Raises ``error`` when another try would not help."""
        self._met |= error.typed
        if not self._met or not (lost or is_loss(error)):
            raise error from None
        await waiting.bear(error)


async def _next(responses: Responses) -> pb.AnalyzeResponse | None:
    return await anext(responses, None)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.001, deadline - time.monotonic())

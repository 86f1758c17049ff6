"""AnalysisService over gRPC: reads requests, drives the application service, writes its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import grpc
import structlog

from orchestrator.api import convert
from orchestrator.api import messages as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceServicer
from orchestrator.api.ports import Analyses
from orchestrator.api.status import AnalysisFailed
from orchestrator.api.uploads import Acknowledgements, receive
from orchestrator.core.results import FINAL_EVENTS, Failed, Started
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.pipeline.service import AnalysisConfig, Upload
from orchestrator.ports import MediaBytes

log = structlog.get_logger(__name__)

LAST_WORD_SECONDS = 1.0

Context = grpc.aio.ServicerContext[Any, Any]


class AnalysisHandlers(AnalysisServiceServicer):
    """The service. Errors leave as exceptions; ``interceptors.Boundary`` makes statuses of them.

    The streaming methods write to their context instead of yielding, because two tasks write to an upload's stream. A
    client that reads slowly blocks those writes alone: events wait in the service's log, not here.
    """

    def __init__(self, analyses: Analyses) -> None:
        self._analyses = analyses

    async def Analyze(self, request_iterator: AsyncIterator[pb.AnalyzeRequest], context: Context) -> None:  # type: ignore[override]  # noqa: N802
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "config":
            raise InvalidRequest("the first message must hold the configuration")
        config = convert.analysis_config(first.config)
        stream = Stream(context)
        if first.config.WhichOneof("source") == "path":
            analysis_id = await self._submit(await self._analyses.open_path(first.config.path), config)
            await self._owned(analysis_id, self._follow(analysis_id, 0, stream))
            return
        upload = self._analyses.open_upload()
        analysis_id = await self._submit(upload, config)
        declared = first.config.upload
        length = declared.content_length if declared.HasField("content_length") else None
        await self._owned(analysis_id, self._follow_upload(analysis_id, upload, length, requests, stream))

    async def WatchAnalysis(self, request: pb.WatchAnalysisRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        if request.after_sequence < 0:
            raise InvalidRequest(f"after_sequence must not be negative, got {request.after_sequence}")
        structlog.contextvars.bind_contextvars(analysis_id=request.analysis_id)
        await self._follow(request.analysis_id, request.after_sequence, Stream(context))

    async def CancelAnalysis(self, request: pb.CancelAnalysisRequest, context: Context) -> pb.CancelAnalysisResponse:  # noqa: N802
        structlog.contextvars.bind_contextvars(analysis_id=request.analysis_id)
        await self._analyses.cancel(request.analysis_id)
        return pb.CancelAnalysisResponse()

    async def _submit(self, source: MediaBytes, config: AnalysisConfig) -> str:
        try:
            return await self._analyses.submit(source, config)
        except BaseException:
            source.close()  # the service takes it over only with the analysis
            raise

    async def _owned(self, analysis_id: str, following: Coroutine[Any, Any, None]) -> None:
        """Await ``following``; unless it reaches the end of the analysis, the analysis ends with it.

        So a client that cancels, whose deadline passes, or whose upload is refused leaves no work behind.
        """
        structlog.contextvars.bind_contextvars(analysis_id=analysis_id)
        ended = False
        try:
            await following
            ended = True
        except AnalysisFailed:
            ended = True
            raise
        finally:
            if not ended:
                await self._cancel(analysis_id)

    async def _cancel(self, analysis_id: str) -> None:
        try:
            await self._analyses.cancel(analysis_id)
        except NotFound:
            log.warning("grpc.cancelled_analysis_is_gone", analysis_id=analysis_id)

    async def _follow(self, analysis_id: str, after: int, stream: Stream) -> None:
        """Write every event after sequence number ``after``. Raises ``AnalysisFailed`` when the log ends so."""
        converter = convert.EventConverter()
        if after > 0:  # the first event tells the time base; it lies before the cursor
            async for _, event in self._analyses.events(analysis_id):
                converter.see(event)
                if isinstance(event, (Started, *FINAL_EVENTS)):
                    break
        async for sequence, event in self._analyses.events(analysis_id, after):
            if isinstance(event, Failed):
                raise AnalysisFailed(event)
            await stream.write(converter.response(analysis_id, sequence, event))

    async def _follow_upload(
        self,
        analysis_id: str,
        upload: Upload,
        length: int | None,
        requests: AsyncIterator[pb.AnalyzeRequest],
        stream: Stream,
    ) -> None:
        """Receive the upload, acknowledge it and write the events, side by side, until the events end."""
        acknowledgements = Acknowledgements()

        async def receiving() -> None:
            await receive(requests, upload, length, acknowledgements.stored)
            acknowledgements.close()

        async def tell(committed: int) -> None:
            await stream.write(convert.upload_progress(analysis_id, committed))

        events = asyncio.create_task(self._follow(analysis_id, 0, stream))
        tasks = {events, asyncio.create_task(receiving()), asyncio.create_task(acknowledgements.run(tell))}
        try:
            pending = tasks
            while not events.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if any(isinstance(task.exception(), OSError | ValueError) for task in done):
                    # An analysis that has ended closes its upload under the receiver: what it says is coming
                    await asyncio.wait({events}, timeout=LAST_WORD_SECONDS)
                for task in () if events.done() else done:
                    task.result()
            events.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Stream:
    """The response half of a call, which one task at a time may write."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = asyncio.Lock()

    async def write(self, response: pb.AnalyzeResponse) -> None:
        """Send ``response``; waits while the client's window is full."""
        async with self._lock:
            await self._context.write(response)

"""AnalysisService over gRPC: its methods, and the calls that take a client's stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import structlog

from orchestrator.api import messages as pb
from orchestrator.api import records, requests
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceServicer
from orchestrator.api.methods import AnalysisMethods, bind, named
from orchestrator.api.ports import Analyses, UploadWriter
from orchestrator.api.receiving import Reception
from orchestrator.api.status import AnalysisFailed
from orchestrator.core.jobs import AnalysisRecord, AnalysisSpec, SourceKind
from orchestrator.errors import FailedPrecondition, InvalidRequest, NotFound, UploadOutOfOrder

log = structlog.get_logger(__name__)

LAST_WORD_SECONDS = 1.0

Context = grpc.aio.ServicerContext[Any, Any]


class AnalysisHandlers(AnalysisServiceServicer):
    """The service. Errors leave as exceptions; ``interceptors.Boundary`` makes statuses of them.

    The streaming methods write to their context instead of yielding, because two tasks write to an upload's stream. A
    client that reads slowly blocks those writes alone: events wait in the store, not here.
    """

    def __init__(self, analyses: Analyses) -> None:
        self._analyses = analyses
        self._methods = AnalysisMethods(analyses)

    async def Analyze(self, request_iterator: AsyncIterator[pb.AnalyzeRequest], context: Context) -> None:  # type: ignore[override]  # noqa: N802
        incoming = aiter(request_iterator)
        first = await anext(incoming, None)
        if first is None or first.WhichOneof("message") != "config":
            raise InvalidRequest("the first message must hold the configuration")
        spec = _within(requests.analysis_spec(first.config, bindable=True), context.time_remaining())
        record, created = await self._analyses.create(spec)
        bind(record)
        await context.send_initial_metadata(
            ()
        )  # a first write that is broken off would leave gRPC in doubt whether it was
        stream = Stream(context)
        async with self._bound(record.id, spec.bound and created):
            writer = await self._writer(record)
            if writer is None:
                await self._follow(record.id, stream)
                return
            with closing(writer):
                await self._follow_upload(record, writer, _chunks(incoming), stream)

    async def CreateAnalysis(self, request: pb.CreateAnalysisRequest, _: Context) -> pb.CreateAnalysisResponse:  # noqa: N802
        return await self._methods.create(request)

    async def UploadMedia(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.UploadMediaRequest], _: Context
    ) -> pb.UploadMediaResponse:
        incoming = aiter(request_iterator)
        first = await anext(incoming, None)
        if first is None:
            raise InvalidRequest("the first message must name the analysis")
        analysis_id = named(first.analysis_id)
        record = await self._analyses.get(analysis_id)
        upload = record.upload
        if not upload.complete:
            with closing(await self._analyses.upload(analysis_id)) as writer:
                upload = await Reception(writer, record.spec.source.size, upload).run(_media_chunks(first, incoming))
        return pb.UploadMediaResponse(upload=records.upload_state(upload))

    async def GetAnalysis(self, request: pb.GetAnalysisRequest, _: Context) -> pb.GetAnalysisResponse:  # noqa: N802
        return await self._methods.get(request)

    async def ListAnalyses(self, request: pb.ListAnalysesRequest, _: Context) -> pb.ListAnalysesResponse:  # noqa: N802
        return await self._methods.list(request)

    async def WatchAnalysis(self, request: pb.WatchAnalysisRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        await _write(self._methods.watch(request), context)

    async def CancelAnalysis(self, request: pb.CancelAnalysisRequest, _: Context) -> pb.CancelAnalysisResponse:  # noqa: N802
        return await self._methods.cancel(request)

    async def RetryAnalysis(self, request: pb.RetryAnalysisRequest, _: Context) -> pb.RetryAnalysisResponse:  # noqa: N802
        return await self._methods.retry(request)

    async def DeleteAnalysis(self, request: pb.DeleteAnalysisRequest, _: Context) -> pb.DeleteAnalysisResponse:  # noqa: N802
        return await self._methods.delete(request)

    async def ExportAnalysis(self, request: pb.ExportAnalysisRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        await _write(self._methods.export(request), context)

    @asynccontextmanager
    async def _bound(self, analysis_id: str, bound: bool) -> AsyncIterator[None]:
        """When the call ends before the analysis, so does the analysis if it is ``bound``."""
        try:
            yield
        except AnalysisFailed:
            raise
        except BaseException:
            if bound:
                await self._cancel(analysis_id)
            raise

    async def _cancel(self, analysis_id: str) -> None:
        try:
            await self._analyses.cancel(analysis_id)
        except NotFound:
            log.warning("grpc.cancelled_analysis_is_gone", analysis_id=analysis_id)

    async def _writer(self, record: AnalysisRecord) -> UploadWriter | None:
        """The writer of its upload, where there is something to write: a resent request may meet the end of its analysis."""
        if record.spec.source.kind is not SourceKind.UPLOAD or record.upload.complete or record.state.ended:
            return None
        try:
            return await self._analyses.upload(record.id)
        except FailedPrecondition:
            if (await self._analyses.get(record.id)).state.ended:
                return None
            raise

    async def _follow(self, analysis_id: str, stream: Stream, before: asyncio.Task[None] | None = None) -> None:
        """Write every response; the last one after ``before`` has ended."""
        async with aclosing(self._methods.watch(pb.WatchAnalysisRequest(analysis_id=analysis_id))) as responses:
            async for response in responses:
                if before is not None and response.HasField("finished"):
                    await asyncio.wait({before}, timeout=LAST_WORD_SECONDS)
                await stream.write(response)

    async def _follow_upload(
        self, record: AnalysisRecord, writer: UploadWriter, chunks: AsyncIterator[pb.UploadChunk], stream: Stream
    ) -> None:
        """Receive the upload, acknowledge it and write the responses, side by side, until the responses end."""
        reception = Reception(writer, record.spec.source.size, record.upload)

        async def receive() -> None:
            state = await reception.run(chunks)
            if not state.complete:
                raise InvalidRequest(
                    f"the upload broke off after {state.committed} bytes, without a last chunk",
                    expected_offset=state.committed,
                )

        async def acknowledge() -> None:
            async for state in reception.acknowledgements():
                await stream.write(records.acknowledgement(record.id, state))

        receiving, acknowledging = asyncio.create_task(receive()), asyncio.create_task(acknowledge())
        following = asyncio.create_task(self._follow(record.id, stream, acknowledging))
        tasks = {receiving, acknowledging, following}
        try:
            pending = tasks
            while not following.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if receiving in done and _may_have_ended(receiving.exception()):
                    await asyncio.wait({following}, timeout=LAST_WORD_SECONDS)
                for task in () if following.done() else done:
                    task.result()
            following.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _write(responses: AsyncGenerator[Any, None], context: Context) -> None:
    async with aclosing(responses):
        async for response in responses:
            await context.write(response)


def _may_have_ended(error: BaseException | None) -> bool:
    """An analysis that has ended takes no more bytes; what it has to say is the answer then."""
    if isinstance(error, UploadOutOfOrder):
        return False
    return isinstance(error, FailedPrecondition | OSError | ValueError)


def _within(spec: AnalysisSpec, seconds: float | None) -> AnalysisSpec:
    """``spec`` with a deadline no later than in ``seconds``."""
    if seconds is None:
        return spec
    try:
        end = datetime.now(UTC) + timedelta(seconds=seconds)
    except OverflowError:  # a deadline of centuries is none
        return spec
    return replace(spec, deadline=end if spec.deadline is None else min(end, spec.deadline))


async def _chunks(incoming: AsyncIterator[pb.AnalyzeRequest]) -> AsyncIterator[pb.UploadChunk]:
    async for request in incoming:
        if request.WhichOneof("message") != "chunk":
            raise InvalidRequest("only chunks may follow the configuration")
        yield request.chunk


async def _media_chunks(
    first: pb.UploadMediaRequest, incoming: AsyncIterator[pb.UploadMediaRequest]
) -> AsyncIterator[pb.UploadChunk]:
    if first.HasField("chunk"):
        yield first.chunk
    async for request in incoming:
        if request.analysis_id not in ("", first.analysis_id):
            raise InvalidRequest("one call uploads to one analysis")
        yield request.chunk


class Stream:
    """The response half of a call, which one task at a time may write."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = asyncio.Lock()

    async def write(self, response: pb.AnalyzeResponse) -> None:
        """Send ``response``; waits while the client's window is full."""
        async with self._lock:
            await self._context.write(response)

"""The methods of AnalysisService, whatever transport carries them: messages in, messages out, errors as exceptions.

Only what a client streams to us is left to the transports (:mod:`orchestrator.api.receiving` is common to them).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog

from orchestrator.api import convert, records, requests
from orchestrator.api import messages as pb
from orchestrator.api.ports import Analyses
from orchestrator.api.status import AnalysisFailed
from orchestrator.core.jobs import AnalysisRecord
from orchestrator.core.results import Failed, SegmentClosed

EXPORT_BYTES = 1 << 20  # of one message


class AnalysisMethods:
    """Each method raises what the application raises, and ``InvalidRequest``."""

    def __init__(self, analyses: Analyses) -> None:
        self._analyses = analyses

    async def create(self, request: pb.CreateAnalysisRequest) -> pb.CreateAnalysisResponse:
        """Create an analysis, or estimate it."""
        spec = requests.analysis_spec(request.config)
        if request.dry_run:
            return pb.CreateAnalysisResponse(estimate=records.estimate(await self._analyses.estimate(spec)))
        record, created = await self._analyses.create(spec)
        bind(record)
        return pb.CreateAnalysisResponse(analysis=records.analysis(record), created=created)

    async def get(self, request: pb.GetAnalysisRequest) -> pb.GetAnalysisResponse:
        """The present state."""
        record = await self._analyses.get(named(request.analysis_id))
        return pb.GetAnalysisResponse(analysis=records.analysis(record))

    async def list(self, request: pb.ListAnalysesRequest) -> pb.ListAnalysesResponse:
        """A page of analyses."""
        page = await self._analyses.list(*requests.list_query(request))
        return pb.ListAnalysesResponse(
            analyses=[records.analysis(record) for record in page.records], next_page_token=page.next_token
        )

    async def watch(self, request: pb.WatchAnalysisRequest) -> AsyncGenerator[pb.AnalyzeResponse, None]:
        """The responses after a cursor, until the final one. Raises ``AnalysisFailed`` when the log ends so."""
        analysis_id = named(request.analysis_id)
        converter = convert.EventConverter()
        async with aclosing(self._analyses.events(analysis_id, requests.position(request.after_sequence))) as events:
            async for position, event in events:
                if isinstance(event, Failed):
                    raise AnalysisFailed(event)
                if isinstance(event, SegmentClosed) and not converter.knows_time:
                    converter.learn((await self._analyses.get(analysis_id)).media)  # Started lies before the cursor
                yield converter.response(analysis_id, position, event)

    async def cancel(self, request: pb.CancelAnalysisRequest) -> pb.CancelAnalysisResponse:
        """Stop an analysis, and wait until it has stopped."""
        await self._analyses.cancel(named(request.analysis_id))
        return pb.CancelAnalysisResponse()

    async def retry(self, request: pb.RetryAnalysisRequest) -> pb.RetryAnalysisResponse:
        """A new analysis of the same source."""
        analysis_id = named(request.analysis_id)
        record = await self._analyses.retry(analysis_id, *requests.retry_choice(request))
        return pb.RetryAnalysisResponse(analysis=records.analysis(record))

    async def delete(self, request: pb.DeleteAnalysisRequest) -> pb.DeleteAnalysisResponse:
        """Forget an analysis."""
        await self._analyses.delete(named(request.analysis_id))
        return pb.DeleteAnalysisResponse()

    async def export(self, request: pb.ExportAnalysisRequest) -> AsyncGenerator[pb.ExportAnalysisResponse, None]:
        """A file, in pieces."""
        file_format = requests.export_format(request.format)
        async with aclosing(self._analyses.export(named(request.analysis_id), file_format)) as pieces:
            async for data in pieces:
                for at in range(0, len(data), EXPORT_BYTES):
                    yield pb.ExportAnalysisResponse(data=data[at : at + EXPORT_BYTES])


def bind(record: AnalysisRecord) -> None:
    """Have the access log, and whatever else is logged in this call, name the analysis."""
    request = {"request_id": record.spec.request_id} if record.spec.request_id else {}
    structlog.contextvars.bind_contextvars(analysis_id=record.id, **request)


def named(analysis_id: str) -> str:
    """A checked id, which the access log tells from now on."""
    checked = requests.analysis_id(analysis_id)
    structlog.contextvars.bind_contextvars(analysis_id=checked)
    return checked

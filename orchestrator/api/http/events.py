"""The segments of an analysis: as server-sent events while they come, or page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api import convert, requests
from orchestrator.api import messages as pb
from orchestrator.api.http.errors import JSON
from orchestrator.api.http.route import Services
from orchestrator.api.methods import named
from orchestrator.api.status import AnalysisFailed, status_of
from orchestrator.core.results import SegmentClosed
from orchestrator.errors import InvalidRequest, ReelsiftError

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 15.0
EVENT_STREAM = "text/event-stream"
MAX_PAGE_SIZE = 200
DEFAULT_PAGE_SIZE = 50
MAX_POSITION = 2**62
FIRST_SEGMENT_SEQUENCE = 2  # Started is 1


async def watch(request: Request, services: Services) -> Response:
    """The log after a cursor, as server-sent events, until the final one."""
    analysis_id = named(request.path_params["analysis_id"])
    after = _number(request, "after_sequence", 0, MAX_POSITION)
    if (seen := request.headers.get("last-event-id")) is not None:  # a client that reconnects keeps its first URL
        after = _decimal("Last-Event-ID", seen, MAX_POSITION)
    pictures = _flag(request, "thumbnails")
    record = await services.analyses.get(analysis_id)
    if record.state.ended and after >= record.last_sequence:
        return Response(None, 204)  # which tells an EventSource to stop reconnecting
    message = pb.WatchAnalysisRequest(analysis_id=analysis_id, after_sequence=after)
    return EventSourceResponse(
        _events(services, message, pictures),
        ping=HEARTBEAT_SECONDS,
        ping_message_factory=lambda: ServerSentEvent(comment="heartbeat", sep="\n"),
        sep="\n",
    )


async def _events(services: Services, message: pb.WatchAnalysisRequest, pictures: bool) -> AsyncIterator[bytes]:
    last = message.after_sequence
    try:
        async with aclosing(services.analysis_methods.watch(message)) as responses:
            async for response in responses:
                last = response.sequence or last
                frame = await _frame(response, pictures)
                del response  # a client that does not read holds the frame alone
                yield frame
    except AnalysisFailed as failed:
        yield _encoded("error", last + 1, pb.to_json(status_of(failed)))  # the log has no gaps
    except Exception as error:
        if not isinstance(error, ReelsiftError):
            log.exception("http.unexpected_error", method="WatchAnalysis", analysis_id=message.analysis_id)
        yield _encoded("error", 0, pb.to_json(status_of(error)))


async def _frame(response: pb.AnalyzeResponse, pictures: bool) -> bytes:
    def write() -> bytes:
        return _encoded(response.WhichOneof("event"), response.sequence, pb.to_json(response))

    if not response.HasField("segment"):
        return write()
    _strip(response.segment, pictures)
    return await asyncio.to_thread(write)  # milliseconds of work: others take turns


def _encoded(event: str | None, sequence: int, line: str) -> bytes:
    """An event whose data is one ``line``. What has no place in the log moves no cursor: it has no id."""
    cursor = f"id: {sequence}\n" if sequence else ""
    return f"{cursor}event: {event}\ndata: {line}\n\n".encode()


async def page(request: Request, services: Services) -> Response:
    """Stored segments from a token on; it never waits for more."""
    analysis_id = named(request.path_params["analysis_id"])
    size = requests.page_size(_number(request, "page_size", 0, MAX_PAGE_SIZE), DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    start = _decimal("page_token", request.query_params.get("page_token") or "0", MAX_POSITION)
    pictures = _flag(request, "thumbnails")
    record = await services.analyses.get(analysis_id)
    wanted = min(size, record.segments - start)
    found: list[pb.Segment] = []
    if wanted > 0:
        converter = convert.EventConverter()
        converter.learn(record.media)
        after = start + FIRST_SEGMENT_SEQUENCE - 1
        async with aclosing(services.analyses.events(analysis_id, after)) as events:
            async for position, event in events:
                if isinstance(event, SegmentClosed):
                    found.append(converter.response(analysis_id, position, event).segment)
                    _strip(found[-1], pictures)
                    if len(found) == wanted:
                        break
    end = start + len(found)
    token = "" if record.state.ended and end >= record.segments else str(end)
    return Response(await asyncio.to_thread(_page, found, token), 200, {"Cache-Control": "no-store"}, JSON)


def _page(segments: list[pb.Segment], token: str) -> str:
    return f'{{"segments": [{", ".join(map(pb.to_json, segments))}], "nextPageToken": "{token}"}}'


def _strip(segment: pb.Segment, pictures: bool) -> None:
    if not pictures and segment.HasField("thumbnail"):
        segment.thumbnail.ClearField("jpeg")


def _number(request: Request, name: str, default: int, largest: int) -> int:
    given = request.query_params.get(name)
    return default if given is None else _decimal(name, given, largest)


def _decimal(name: str, given: str, largest: int) -> int:
    if not (given.isascii() and given.isdecimal() and len(given) <= 19 and int(given) <= largest):
        raise InvalidRequest(f"{name} must be a number from 0 to {largest}", field=name)
    return int(given)


def _flag(request: Request, name: str) -> bool:
    given = request.query_params.get(name, "true")
    if given not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false", field=name)
    return given == "true"

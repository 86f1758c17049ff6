"""The upload of a media: by PUT, in one piece or in several, each going on where the last one's bytes are on disk.

A piece says its place as ``Content-Range: bytes FIRST-LAST/TOTAL`` (``*`` for a total that is not known yet); without
the header the body is the whole media. ``bytes */TOTAL`` without a body ends an upload whose bytes are all there, and
``bytes */*`` asks how far it is, as HEAD does.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api import messages as pb
from orchestrator.api import records
from orchestrator.api.http.route import Services
from orchestrator.api.http.unary import message_response
from orchestrator.api.methods import named
from orchestrator.api.receiving import Reception
from orchestrator.core.jobs import AnalysisRecord, SourceKind, UploadState
from orchestrator.errors import FailedPrecondition, InvalidRequest, UploadOutOfOrder

MAX_OFFSET = 2**63 - 1

RESUME_INCOMPLETE = 308

_PIECE = re.compile(r"bytes (?P<first>[0-9]{1,19})-(?P<last>[0-9]{1,19})/(?P<total>[0-9]{1,19}|\*)")
_QUESTION = re.compile(r"bytes \*/(?P<total>[0-9]{1,19}|\*)")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes ``first`` up to but without ``end`` (``None``: as many as come) of a media of ``total`` bytes (``None``:
    not known). An empty piece only asks."""

    first: int
    end: int | None
    total: int | None

    @property
    def asks(self) -> bool:
        """Whether no bytes come with it."""
        return self.end == self.first

    @property
    def last(self) -> bool:
        """Whether the media ends with it."""
        return self.end is None or self.end == self.total


def piece_of(content_range: str | None, length: int | None) -> Piece:
    """The piece that the headers announce. Raises ``InvalidRequest``."""
    if content_range is None:
        if length == 0:
            raise InvalidRequest("the body is empty", field="Content-Length")
        return Piece(0, length, length)
    text = content_range.strip()
    if match := _QUESTION.fullmatch(text):
        if length:
            raise InvalidRequest("this Content-Range announces no bytes, but the body has some", field="Content-Range")
        return Piece(0, 0, _number(match["total"]))
    if not (match := _PIECE.fullmatch(text)):
        raise InvalidRequest("Content-Range must be bytes FIRST-LAST/TOTAL or bytes */TOTAL", field="Content-Range")
    first, end, total = int(match["first"]), int(match["last"]) + 1, _number(match["total"])
    if not first < end <= (MAX_OFFSET if total is None else total) or (total or 0) > MAX_OFFSET:
        raise InvalidRequest("Content-Range must have FIRST <= LAST < TOTAL", field="Content-Range")
    if length is not None and length != end - first:
        raise InvalidRequest(f"Content-Range announces {end - first} bytes, Content-Length {length}")
    return Piece(first, end, total)


def _number(text: str) -> int | None:
    return None if text == "*" else int(text)


async def put(request: Request, services: Services) -> Response:
    """Store a piece; the answer comes when it is on disk."""
    analysis_id = named(request.path_params["analysis_id"])
    declared = request.headers.get("content-length")
    piece = piece_of(request.headers.get("content-range"), int(declared) if declared is not None else None)
    record = await _upload_record(services, analysis_id)
    announced = _announced(record, piece)
    if record.upload.complete or piece.asks:
        return await _settle(services, record, piece)
    with closing(await services.analyses.upload(analysis_id)) as writer:
        if piece.first > writer.committed:  # said before a byte of the body is read: curl need not send it then
            raise UploadOutOfOrder(
                f"the upload goes on at {writer.committed}, not at {piece.first}", expected_offset=writer.committed
            )
        return progress(await Reception(writer, announced).run(_chunks(request, piece)))


async def head(request: Request, services: Services) -> Response:
    """How much is on disk."""
    record = await _upload_record(services, named(request.path_params["analysis_id"]))
    return Response(None, 200, _headers(record.upload) | {"Content-Type": "application/json"})


async def _upload_record(services: Services, analysis_id: str) -> AnalysisRecord:
    record = await services.analyses.get(analysis_id)
    if record.spec.source.kind is not SourceKind.UPLOAD:
        raise FailedPrecondition("the media of this analysis is no upload")
    return record


def _announced(record: AnalysisRecord, piece: Piece) -> int | None:
    """The size of the whole media, as far as anyone has told."""
    announced = record.spec.source.size
    if announced is None:
        return piece.total
    if piece.total not in (None, announced):
        raise InvalidRequest(f"the media was announced with {announced} bytes, not {piece.total}")
    return announced


async def _settle(services: Services, record: AnalysisRecord, piece: Piece) -> Response:
    """Answer without reading bytes: a question, or a piece of an upload that is complete already."""
    state = record.upload
    if not state.complete and piece.total == state.committed and state.committed:
        with closing(await services.analyses.upload(record.id)) as writer:
            return progress(await writer.finish(piece.total))
    if state.complete and not piece.asks and (piece.end is None or piece.end > state.committed):
        raise FailedPrecondition(f"the upload is complete with {state.committed} bytes")
    return progress(state)


async def _chunks(request: Request, piece: Piece) -> AsyncIterator[pb.UploadChunk]:
    """The body as it comes: more of it is taken from the client only when the last of it was written."""
    offset = piece.first
    async for data in request.stream():
        if piece.end is not None and offset + len(data) > piece.end:
            raise InvalidRequest("the body is longer than its Content-Range")
        if data:
            yield pb.UploadChunk(offset=offset, data=data)
            offset += len(data)
    if piece.end is not None and offset != piece.end:
        raise InvalidRequest(f"the body ended at {offset}, its Content-Range at {piece.end}")
    if piece.last:
        yield pb.UploadChunk(offset=offset, last=True)


def progress(state: UploadState) -> Response:
    """``state`` as the answer to a piece."""
    message = pb.UploadMediaResponse(upload=records.upload_state(state))
    return message_response(message, 200 if state.complete else RESUME_INCOMPLETE, _headers(state))


def _headers(state: UploadState) -> dict[str, str]:
    headers = {
        "Upload-Offset": str(state.committed),
        "Upload-Complete": f"?{int(state.complete)}",
        "Cache-Control": "no-store",
    }
    if state.committed:
        headers["Range"] = f"bytes=0-{state.committed - 1}"
    return headers

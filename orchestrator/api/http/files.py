"""What is not JSON: the pictures of segments, and results in the file formats of other tools."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from orchestrator.api import messages as pb
from orchestrator.api.http.route import Services
from orchestrator.api.methods import named
from orchestrator.core.exporting import FORMATS
from orchestrator.errors import InvalidRequest, NotFound

_PREFIX = "EXPORT_FORMAT_"

JPEG = "image/jpeg"


async def thumbnail(request: Request, services: Services) -> Response:
    """The picture of a segment. It never changes, but it may be deleted: caches ask each time, and rarely load it."""
    index = request.path_params["index"]
    if not (index.isascii() and index.isdecimal() and len(index) <= 9):
        raise NotFound("there is no such segment")
    jpeg = await services.analyses.thumbnail(named(request.path_params["analysis_id"]), int(index))
    tag = f'"{hashlib.sha256(jpeg).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if _knows(request.headers.get("if-none-match", ""), tag):
        return Response(None, 304, headers)
    return Response(jpeg, 200, headers, JPEG)


def _knows(if_none_match: str, tag: str) -> bool:
    tags = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return bool(tags & {tag, "*"})


async def export(request: Request, services: Services) -> Response:
    """The results as a file."""
    file_format = request.query_params.get("format", "")
    if file_format not in FORMATS:
        raise InvalidRequest(f"format must be one of {', '.join(FORMATS)}", field="format")
    chosen = FORMATS[file_format]
    analysis_id = named(request.path_params["analysis_id"])
    number = pb.ExportFormat.Value(_PREFIX + file_format.upper())
    pieces = services.analysis_methods.export(pb.ExportAnalysisRequest(analysis_id=analysis_id, format=number))
    headers = {
        "Content-Disposition": f'attachment; filename="{analysis_id}{chosen.suffix}"',
        "Cache-Control": "no-store",
    }
    first = await anext(pieces, None)  # an error has a status of its own until the first byte is sent
    if request.method == "HEAD":
        await pieces.aclose()
        return Response(None, 200, headers, chosen.media_type)
    return StreamingResponse(_bytes(first, pieces), 200, headers, chosen.media_type)


async def _bytes(
    first: pb.ExportAnalysisResponse | None, rest: AsyncGenerator[pb.ExportAnalysisResponse, None]
) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        if first is not None:
            yield first.data
        async for piece in rest:
            yield piece.data

"""The routes: each one declared once, served from here and documented from here."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from orchestrator.api import messages as pb
from orchestrator.api.http import events, files, health, media
from orchestrator.api.http.errors import JSON
from orchestrator.api.http.model_routes import MODEL_OPERATIONS
from orchestrator.api.http.operation_routes import OPERATORS_OPERATIONS
from orchestrator.api.http.route import PREFIX, Operation, Parameter, Result
from orchestrator.api.http.schemas import Schema, field_schema, reference
from orchestrator.api.http.unary import message_response, path_parameter, unary
from orchestrator.core.exporting import FORMATS
from orchestrator.errors import (
    AnalysisNotEnded,
    DiskFull,
    Draining,
    FailedPrecondition,
    InferenceUnavailable,
    InvalidRequest,
    MediaTooLarge,
    MediaUnreadable,
    NotFound,
    ProfileError,
    QueueFull,
    RequestIdReused,
    SourceGone,
    SourceNotAllowed,
    UnsupportedFormat,
    UploadOutOfOrder,
)

PROBES = ("/healthz", "/readyz", "/metrics", "/metrics/triton")
_ONE = f"{PREFIX}/analyses/{{analysis_id}}"

_ID = path_parameter("analysis_id")
_ACCEPTING = (ProfileError, QueueFull, DiskFull, Draining)
_MEDIA = (MediaUnreadable, MediaTooLarge, UnsupportedFormat)
_BINARY: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
_THUMBNAILS = Parameter(
    "thumbnails", "query", {"type": "boolean", "default": True}, "Whether the pictures' bytes come along."
)
_AFTER = pb.WatchAnalysisRequest.DESCRIPTOR.fields_by_name["after_sequence"]
_EVENT: Schema = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "The position in the log; none for what is not logged."},
        "event": {"enum": ["started", "progress", "segment", "finished", "error"]},
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "contentSchema": {
                "oneOf": [reference(pb.AnalyzeResponse.DESCRIPTOR), {"$ref": "#/components/schemas/Status"}]
            },
        },
    },
}
_SEGMENT_PAGE: Schema = {
    "type": "object",
    "required": ["segments", "nextPageToken"],
    "additionalProperties": False,
    "properties": {
        "segments": {"type": "array", "items": reference(pb.Segment.DESCRIPTOR)},
        "nextPageToken": {"type": "string", "description": "Empty on the last page of an ended analysis."},
    },
}
_UPLOAD_HEADERS = {
    "Upload-Offset": "Bytes on disk: the upload goes on here.",
    "Upload-Complete": "?1 when all are there.",
}
_UPLOAD = {JSON: reference(pb.UploadMediaResponse.DESCRIPTOR)}
_CREATED = {JSON: reference(pb.CreateAnalysisResponse.DESCRIPTOR)}


def _created(response: pb.CreateAnalysisResponse) -> Response:
    if not response.created:
        return message_response(response)
    return message_response(response, 201, {"Location": f"{PREFIX}/analyses/{response.analysis.analysis_id}"})


def _checks(name: str) -> Schema:
    flags: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "boolean"}}
    return {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}, "checks": flags}}


OPERATIONS: tuple[Operation, ...] = (
    unary(
        "POST",
        f"{PREFIX}/analyses",
        "CreateAnalysis",
        "Create an analysis, or only estimate it (dry_run).",
        lambda services: services.analysis_methods.create,
        body=True,
        query=("dry_run",),
        respond=_created,
        results={
            200: Result("The analysis that the request_id made before, or what a dry run found.", _CREATED),
            201: Result("The new analysis.", _CREATED, {"Location": "The analysis."}),
        },
        errors=(*_ACCEPTING, *_MEDIA, SourceNotAllowed, RequestIdReused, InferenceUnavailable, NotFound),
    ),
    unary(
        "GET",
        f"{PREFIX}/analyses",
        "ListAnalyses",
        "Analyses, newest first.",
        lambda services: services.analysis_methods.list,
    ),
    unary(
        "GET",
        _ONE,
        "GetAnalysis",
        "The present state of an analysis.",
        lambda services: services.analysis_methods.get,
        errors=(NotFound,),
    ),
    unary(
        "DELETE",
        _ONE,
        "DeleteAnalysis",
        "Forget an ended analysis.",
        lambda services: services.analysis_methods.delete,
        errors=(NotFound, AnalysisNotEnded),
    ),
    unary(
        "POST",
        f"{_ONE}:cancel",
        "CancelAnalysis",
        "Stop an analysis; the answer comes when it has stopped.",
        lambda services: services.analysis_methods.cancel,
        body=True,
        errors=(NotFound,),
    ),
    unary(
        "POST",
        f"{_ONE}:retry",
        "RetryAnalysis",
        "Analyse the source of an ended analysis again, as a new analysis.",
        lambda services: services.analysis_methods.retry,
        body=True,
        errors=(NotFound, AnalysisNotEnded, SourceGone, *_ACCEPTING),
    ),
    Operation(
        "GET",
        f"{_ONE}/events",
        "WatchAnalysis",
        "The log of an analysis as server-sent events, until the final one. Each event's data is an AnalyzeResponse; the "
        "event named error, with a Status, ends the stream of one that failed, and a stream that breaks off.",
        events.watch,
        {
            200: Result("Events; their ids are the positions in the log.", {events.EVENT_STREAM: _EVENT}),
            204: Result("The final event lies before the cursor: nothing will come."),
        },
        (
            _ID,
            Parameter("after_sequence", "query", field_schema(_AFTER), "Only what lies behind this position."),
            Parameter("Last-Event-ID", "header", field_schema(_AFTER), "The same, of a client that reconnects."),
            _THUMBNAILS,
        ),
        errors=(InvalidRequest, NotFound),
    ),
    Operation(
        "GET",
        f"{_ONE}/segments",
        "ListSegments",
        "The segments that are stored; it does not wait for more.",
        events.page,
        {200: Result("A page.", {JSON: _SEGMENT_PAGE})},
        (
            _ID,
            Parameter("page_size", "query", {"type": "integer", "minimum": 0, "maximum": events.MAX_PAGE_SIZE}),
            Parameter("page_token", "query", {"type": "string"}),
            _THUMBNAILS,
        ),
        errors=(InvalidRequest, NotFound),
    ),
    Operation(
        "GET",
        f"{_ONE}/segments/{{index}}/thumbnail",
        "GetThumbnail",
        "The picture of a segment.",
        files.thumbnail,
        {
            200: Result("The picture.", {files.JPEG: _BINARY}, {"ETag": "Of the picture."}),
            304: Result("The picture that If-None-Match names."),
        },
        (
            _ID,
            Parameter("index", "path", {"type": "integer", "minimum": 0, "maximum": 999_999_999}),
            Parameter("If-None-Match", "header", {"type": "string"}),
        ),
        errors=(NotFound,),
    ),
    Operation(
        "GET",
        f"{_ONE}/export",
        "ExportAnalysis",
        "The results of an ended analysis in a file format of other tools.",
        files.export,
        {200: Result("The file.", {each.media_type: {} for each in FORMATS.values()})},
        (_ID, Parameter("format", "query", {"type": "string", "enum": list(FORMATS)})),
        errors=(InvalidRequest, NotFound, AnalysisNotEnded),
    ),
    Operation(
        "PUT",
        f"{_ONE}/media",
        "UploadMedia",
        "Upload the media, whole or piece by piece. The answer comes when the bytes are on disk.",
        media.put,
        {
            200: Result("The upload is complete.", _UPLOAD, _UPLOAD_HEADERS),
            media.RESUME_INCOMPLETE: Result("More bytes are wanted.", _UPLOAD, _UPLOAD_HEADERS),
        },
        (
            _ID,
            Parameter(
                "Content-Range",
                "header",
                {"type": "string", "pattern": r"^bytes ([0-9]{1,18}-[0-9]{1,18}|\*)/([0-9]{1,18}|\*)$"},
                "Where the body belongs: bytes FIRST-LAST/TOTAL, with * for a total that is not known. Without the header "
                "it is the whole media. bytes */TOTAL with no body ends the upload, bytes */* asks how far it is.",
            ),
        ),
        body={"application/octet-stream": _BINARY},
        errors=(
            InvalidRequest,
            NotFound,
            FailedPrecondition,
            UploadOutOfOrder,
            MediaTooLarge,
            DiskFull,
            Draining,
            SourceGone,
        ),
    ),
    Operation(
        "HEAD",
        f"{_ONE}/media",
        "GetUpload",
        "How much of the upload is on disk.",
        media.head,
        {200: Result("It is in the headers.", headers=_UPLOAD_HEADERS)},
        (_ID,),
        errors=(NotFound, FailedPrecondition),
    ),
    unary(
        "GET",
        f"{PREFIX}/search",
        "Search",
        "Find segments.",
        lambda services: services.search_methods.search,
        errors=(NotFound, InferenceUnavailable),
    ),
    unary(
        "POST",
        f"{PREFIX}/search",
        "Search",
        "Find segments; the request is in the body.",
        lambda services: services.search_methods.search,
        body=True,
        name="SearchByBody",
        errors=(NotFound, InferenceUnavailable),
    ),
    *MODEL_OPERATIONS,
    *OPERATORS_OPERATIONS,
    Operation(
        "GET",
        PROBES[0],
        "Live",
        "Whether the process lives.",
        health.live,
        {200: Result("It does.", {JSON: _checks("live")})},
    ),
    Operation(
        "GET",
        PROBES[1],
        "Ready",
        "Whether the service has what it needs.",
        health.ready,
        {200: Result("It has.", {JSON: _checks("ready")}), 503: Result("It has not.", {JSON: _checks("ready")})},
    ),
    Operation(
        "GET",
        PROBES[2],
        "Metrics",
        "What Prometheus reads: text, or OpenMetrics with exemplars.",
        health.metrics,
        {200: Result("The metrics.", {"text/plain": {}, "application/openmetrics-text": {}})},
    ),
    Operation(
        "GET",
        PROBES[3],
        "TritonMetrics",
        "What the embedded Triton tells Prometheus; nothing where it runs elsewhere.",
        health.triton_metrics,
        {200: Result("The metrics.", {"text/plain": {}})},
        errors=(InferenceUnavailable,),
    ),
)

"""Errors on the wire: ``google.rpc.Status`` as JSON, under the HTTP status of its class."""

from __future__ import annotations

import math
from collections.abc import Iterable

from google.rpc import error_details_pb2, status_pb2
from starlette.responses import Response

from orchestrator.api.messages import to_json
from orchestrator.api.status import status_of
from orchestrator.errors import InternalError, InvalidRequest, NotFound, ReelsiftError

JSON = "application/json"


class UnknownRoute(NotFound):
    """No resource has this path."""

    reason = "UNKNOWN_ROUTE"


class MethodNotAllowed(ReelsiftError):
    """The resource has no such method; ``allow`` names those that it has."""

    reason, grpc_code, http_status = "METHOD_NOT_ALLOWED", "UNIMPLEMENTED", 405

    def __init__(self, allow: Iterable[str]) -> None:
        self.allow = ", ".join(sorted(allow))
        super().__init__(f"this resource has the methods {self.allow}")


class BodyTooLarge(InvalidRequest):
    """A JSON body above the limit."""

    reason, http_status = "BODY_TOO_LARGE", 413


class NotJson(InvalidRequest):
    """A body that does not say it is JSON. Browsers ask before they send JSON to another site, so that no page that
    somebody visits can call a service on his machine."""

    reason, http_status = "CONTENT_TYPE_NOT_JSON", 415


def error_response(error: BaseException) -> Response:
    """The answer for ``error``; one from outside the tree is a bare INTERNAL, as over gRPC."""
    status = status_of(error)
    return Response(to_json(status), http_status(error), _headers(error, status), JSON)


def http_status(error: BaseException) -> int:
    """The HTTP status of ``error``."""
    return error.http_status if isinstance(error, ReelsiftError) else InternalError.http_status


def _headers(error: BaseException, status: status_pb2.Status) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    retry = error_details_pb2.RetryInfo()
    if any(detail.Unpack(retry) for detail in status.details):
        headers["Retry-After"] = str(math.ceil(retry.retry_delay.ToTimedelta().total_seconds()))
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allow
    if isinstance(error, ReelsiftError) and "expected_offset" in error.detail:
        headers["Upload-Offset"] = error.detail["expected_offset"]
    return headers

"""The application: requests to operations, and one boundary around them all."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterable

import structlog
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator import tracing
from orchestrator.api.http.errors import JSON, MethodNotAllowed, UnknownRoute, error_response
from orchestrator.api.http.openapi import document
from orchestrator.api.http.operation_routes import HEALTH
from orchestrator.api.http.route import PREFIX, Operation, Result, Services
from orchestrator.api.http.routes import OPERATIONS, PROBES
from orchestrator.api.http.unary import METHODS, path_parameters
from orchestrator.errors import InternalError, InvalidRequest, ReelsiftError
from orchestrator.pipeline.telemetry import Telemetry

log = structlog.get_logger(__name__)

CLIENT_CLOSED_REQUEST = 499
UNAVAILABLE = 503

_OPERATION = "reelsift.operation"  # in a request's scope: the name of what was asked, once it is known
_STREAMS = {name for name, method in METHODS.items() if method.client_streaming or method.server_streaming}

_ALL_DAY = frozenset({*PROBES, HEALTH})  # what probes and monitors ask


class _Segment(Convertor[str]):
    """A part of a path; a colon begins the name of a method."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("segment", _Segment())


def http_app(services: Services) -> ASGIApp:
    """The whole application."""
    paths: dict[str, list[Operation]] = defaultdict(list)
    for operation in (*OPERATIONS, _document_operation(OPERATIONS)):
        paths[operation.path].append(operation)
    routes = [Route(_starlette_path(path), _Resource(found, services)) for path, found in paths.items()]
    return _Boundary(Router(routes, redirect_slashes=False, default=_unknown), services.telemetry)


def _document_operation(operations: Iterable[Operation]) -> Operation:
    text = json.dumps(document(operations))

    async def endpoint(request: Request, services: Services) -> Response:
        return Response(text, 200, {"Cache-Control": "no-cache"}, JSON)

    result = Result("The document.", {JSON: {"type": "object"}})
    return Operation("GET", f"{PREFIX}/openapi.json", "Document", "This document.", endpoint, {200: result})


def _starlette_path(path: str) -> str:
    for name in path_parameters(path):
        path = path.replace(f"{{{name}}}", f"{{{name}:segment}}")
    return path


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    raise UnknownRoute("there is no such resource")


class _Resource:
    """The operations of one path, by their verbs. HEAD is GET without a body, unless it has a meaning of its own."""

    def __init__(self, operations: Iterable[Operation], services: Services) -> None:
        self._services = services
        self._verbs = {operation.verb: operation for operation in operations}
        if "GET" in self._verbs:
            self._verbs.setdefault("HEAD", self._verbs["GET"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = self._verbs.get(scope["method"])
        if operation is None:
            raise MethodNotAllowed(self._verbs)
        scope[_OPERATION] = operation.name
        request = Request(scope, receive, send)
        _check_query(request, operation)
        response = await operation.endpoint(request, self._services)
        await response(scope, receive, send)


def _check_query(request: Request, operation: Operation) -> None:
    """Refuse a parameter that the operation does not have: it would not do what its sender thinks."""
    known = {parameter.name for parameter in operation.parameters if parameter.place == "query"}
    for name in request.query_params:
        if name.partition("[")[0] not in known:
            raise InvalidRequest(f"there is no parameter {name[:100]}", field=name[:100])


class _Boundary:
    """Logs and counts each request once, when it ends (what is asked all day in debug logs alone), and turns its exception into
    an answer."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await self._answer(scope, receive, send, None)
            return
        self._telemetry.calling("http", +1)
        try:
            with (
                tracing.continued(Headers(scope=scope).get("traceparent", "")),
                tracing.span("http", tracing.Kind.SERVER) as span,
            ):
                await self._answer(scope, receive, send, span)
        finally:
            self._telemetry.calling("http", -1)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: tracing.Span | None) -> None:
        began = time.monotonic()
        status, reason, code = 0, "", "OK"

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            status, code = status or CLIENT_CLOSED_REQUEST, "CANCELLED"
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except Exception as error:
            typed = error if isinstance(error, ReelsiftError) else InternalError("unexpected")
            reason, code = typed.reason, typed.grpc_code
            if not isinstance(error, ReelsiftError):
                log.exception("http.unexpected_error", method=scope["method"], path=scope["path"])
            if not status:  # else uvicorn breaks the connection off, so that nobody takes the half for the whole
                await error_response(error)(scope, receive, watched)
        finally:
            seconds = time.monotonic() - began
            if status == UNAVAILABLE and code == "OK":
                code = "UNAVAILABLE"  # a probe says so without an error
            name = scope.get(_OPERATION, "unknown")
            if span is not None:
                span.set(operation=name, status=status)
                if code != "OK":
                    span.fail(reason or code)
            self._telemetry.called("http", name, code, None if name in _STREAMS else seconds)
            tell = log.debug if scope["path"] in _ALL_DAY else log.info
            tell(
                "http.call",
                method=scope["method"],
                path=scope["path"],
                analysis_id=structlog.contextvars.get_contextvars().get("analysis_id", ""),
                status=status or CLIENT_CLOSED_REQUEST,
                reason=reason,
                duration_ms=round(seconds * 1000, 3),
            )

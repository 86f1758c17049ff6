"""Methods with one request and one response: bound to a route by the name of the RPC alone."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.gen.reelsift.v1 import analysis_pb2, model_pb2, operations_pb2, search_pb2
from orchestrator.api.http.errors import JSON, BodyTooLarge, NotJson
from orchestrator.api.http.fields import QueryField, from_query, is_map, parse, query_fields
from orchestrator.api.http.route import Operation, Parameter, Result, Services
from orchestrator.api.http.schemas import query_schema, reference
from orchestrator.api.messages import to_json
from orchestrator.errors import InvalidRequest, ReelsiftError

MAX_JSON_BYTES = 256 << 10

METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module, service in (
        (analysis_pb2, "AnalysisService"),
        (search_pb2, "SearchService"),
        (model_pb2, "ModelService"),
        (operations_pb2, "OperationsService"),
    )
    for method in module.DESCRIPTOR.services_by_name[service].methods
}

Method = Callable[[Services], Callable[[Any], Awaitable[Message]]]


def unary(
    verb: str,
    path: str,
    rpc: str,
    summary: str,
    method: Method,
    *,
    errors: Sequence[type[ReelsiftError]] = (),
    body: bool = False,
    query: Sequence[str] | None = None,
    name: str = "",
    respond: Callable[[Any], Response] | None = None,
    results: dict[int, Result] | None = None,
) -> Operation:
    """An operation that answers with ``method``. Fields of its request come from the path, from a JSON ``body``, and
    from the query: those named in ``query``, or without a body all that are left."""
    descriptor = METHODS[rpc]
    message: type[Message] = GetMessageClass(descriptor.input_type)
    in_path = path_parameters(path)
    fields = {each.name: each for each in query_fields(descriptor.input_type, without=in_path)}
    if body or query is not None:
        fields = {name: each for name, each in fields.items() if name in (query or ())}

    async def endpoint(request: Request, services: Services) -> Response:
        bound = await bind(request, message, fields, body=body)
        response = await method(services)(bound)
        return message_response(response) if respond is None else respond(response)

    return Operation(
        verb,
        path,
        name or rpc,
        summary,
        endpoint,
        results or {200: Result("The answer.", {JSON: reference(descriptor.output_type)})},
        parameters=(*(path_parameter(each) for each in in_path), *map(query_parameter, fields.values())),
        body=descriptor.input_type if body else None,
        errors=(InvalidRequest, *((BodyTooLarge, NotJson) if body else ()), *errors),
    )


def path_parameters(path: str) -> list[str]:
    """The names in braces."""
    return re.findall(r"{(\w+)}", path)


def path_parameter(name: str) -> Parameter:
    """A parameter of the path."""
    return Parameter(name, "path", {"type": "string", "minLength": 1})


def query_parameter(known: QueryField) -> Parameter:
    """A field as a parameter."""
    return Parameter(known.name, "query", query_schema(known.field), deep=is_map(known.field))


async def bind(request: Request, message: type[Message], fields: dict[str, QueryField], *, body: bool) -> Any:
    """The request's message. Raises ``InvalidRequest``, ``BodyTooLarge``, ``NotJson``."""
    bound = parse(await json_body(request) or b"{}", message) if body else message()
    given = from_query(request.query_params.multi_items(), fields)
    if given:
        bound.MergeFrom(parse_query(given, message))
    for name, value in request.path_params.items():
        if getattr(bound, name) not in ("", value):
            raise InvalidRequest(f"the field {name} differs between the path and the body", field=name)
        setattr(bound, name, value)
    return bound


def parse_query(given: dict[str, Any], message: type[Message]) -> Message:
    """The message that the parameters of a query spell."""
    return parse(json.dumps(given), message)


async def json_body(request: Request) -> bytes:
    """The body, which must be JSON unless it is empty."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_JSON_BYTES:
        raise BodyTooLarge(f"a JSON body has at most {MAX_JSON_BYTES} bytes, got {declared}")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_JSON_BYTES:
            raise BodyTooLarge(f"a JSON body has at most {MAX_JSON_BYTES} bytes")
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise NotJson(f"the body must be {JSON}, and its Content-Type must say so")
    return bytes(body)


def message_response(message: Message, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """``message`` as JSON."""
    return Response(to_json(message), status, {"Cache-Control": "no-store"} | (headers or {}), JSON)

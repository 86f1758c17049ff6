"""The OpenAPI document, from the routes and the messages' descriptors."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor

from orchestrator import __version__
from orchestrator.api.http.errors import JSON
from orchestrator.api.http.route import Operation
from orchestrator.api.http.schemas import components, named, reference
from orchestrator.errors import InternalError, ReelsiftError, StoreUnavailable

_EVERYWHERE: tuple[type[ReelsiftError], ...] = (InternalError, StoreUnavailable)


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document of ``operations``."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.verb.lower()] = _operation(operation)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(paths))) - {"Status"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "reelsift",
            "version": __version__,
            "summary": "Videos as timed, searchable segments.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {"schemas": components(map(named, sorted(names)))},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [parameter.document() for parameter in operation.parameters],
        "responses": {str(status): result.document() for status, result in operation.results.items()}
        | _errors(operation),
    }
    if isinstance(operation.body, Descriptor):
        found["requestBody"] = {"content": {JSON: {"schema": reference(operation.body)}}}
    elif operation.body is not None:
        content = {name: {"schema": schema} for name, schema in operation.body.items()}
        found["requestBody"] = {"content": content}
    return found


def _errors(operation: Operation) -> dict[str, Any]:
    reasons: dict[int, set[str]] = defaultdict(set)
    for error in (*operation.errors, *_EVERYWHERE):
        if error.http_status not in operation.results:
            reasons[error.http_status].add(error.reason)
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Status"}}}
    return {
        str(status): {"description": ", ".join(sorted(names)), "content": content}
        for status, names in sorted(reasons.items())
    }

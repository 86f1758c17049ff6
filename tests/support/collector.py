"""A collector of traces: takes OTLP over HTTP, as protobuf or JSON, and keeps every span."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True, slots=True)
class Span:
    """A span that arrived, and the service that sent it. Ids are hexadecimal; ``parent`` is empty for the first of a trace."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    service: str
    attributes: dict[str, object]
    failed: str
    seconds: float


@dataclass
class Collector:
    """``endpoint`` is its address; ``spans`` are those that have arrived."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep what came."""
        for resource in request.resource_spans:
            service = str(_values(resource.resource.attributes).get("service.name", ""))
            for scope in resource.scope_spans:
                self.spans += [_span(each, service) for each in scope.spans]

    def named(self, name: str) -> list[Span]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]

    def ancestors(self, span: Span) -> list[str]:
        """The names of what is around it, the nearest first."""
        by_id = {each.id: each for each in self.spans}
        found = []
        while span.parent:
            span = by_id[span.parent]
            found.append(span.name)
        return found


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector at a port of this machine."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.take(_parsed(self.headers["content-type"], self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _parsed(content_type: str, body: bytes) -> ExportTraceServiceRequest:
    if content_type.startswith("application/x-protobuf"):
        return ExportTraceServiceRequest.FromString(body)
    # OTLP's JSON is protobuf's, but for ids in hexadecimal.
    told = json.loads(body)
    for resource in told["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if span.get(name):
                        span[name] = _base64(span[name])
                for link in span.get("links", ()):
                    link["traceId"], link["spanId"] = _base64(link["traceId"]), _base64(link["spanId"])
    return json_format.ParseDict(told, ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _base64(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()


def _span(span: trace_pb2.Span, service: str) -> Span:
    return Span(
        span.name,
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        service,
        _values(span.attributes),
        span.status.message,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _values(attributes: Iterable[Any]) -> dict[str, object]:
    found: Mapping[str, Any] = {each.key: each.value for each in attributes}
    return {name: getattr(value, value.WhichOneof("value") or "string_value") for name, value in found.items()}

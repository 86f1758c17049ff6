"""A collector of traces: takes OTLP over gRPC, and keeps every span."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
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
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """``endpoint`` is its address; ``spans`` are those that have arrived."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)

    def Export(  # noqa: N802
        self, request: trace_service_pb2.ExportTraceServiceRequest, _: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            service = str(_values(resource.resource.attributes).get("service.name", ""))
            for scope in resource.scope_spans:
                self.spans += [_span(each, service) for each in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

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
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(1).wait()


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


def _values(attributes: Sequence[object]) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}  # type: ignore[attr-defined]

"""Spans as OpenTelemetry's, sent by OTLP over HTTP: the only home of that library, imported when there is an endpoint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from orchestrator import __version__, tracing
from orchestrator.tracing import Attribute, Kind, spans_url

_EXPORT_SECONDS = 5.0  # for a batch
_END_SECONDS = 5.0  # for what is not sent yet
_KINDS = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}


@asynccontextmanager
async def traced(endpoint: str, share: float, server: str = "") -> AsyncIterator[None]:
    """Trace ``share`` (0..1) of what begins here, and whatever else is a part of a trace that its beginner keeps, to the collector at
    ``endpoint`` (``http://HOST:PORT``, or https). What is not sent yet in the end is, unless the collector is away."""
    resource = Resource.create(
        {
            "service.name": "reelsift",
            "service.version": __version__,
            "service.instance.id": server or f"{os.uname().nodename}:{os.getpid()}",
        }
    )
    provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(share)), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=spans_url(endpoint), timeout=_EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        with tracing.installed(_Tracer(provider.get_tracer("reelsift"))):
            yield
    finally:
        ending = asyncio.ensure_future(asyncio.to_thread(provider.shutdown))
        await asyncio.wait({ending}, timeout=_END_SECONDS)
        if not ending.done():
            exporter.shutdown()  # type: ignore[no-untyped-call]  # what is not sent by now is lost
        await ending


class _Tracer:
    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start(self, name: str, kind: Kind, parent: str, attributes: Mapping[str, Attribute]) -> _Span:
        span = self._tracer.start_span(name, _context(parent), _KINDS[kind], attributes=_named(attributes))
        return _Span(span)


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span, self._failed = span, False
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"

    def set(self, **attributes: Attribute) -> None:
        self._span.set_attributes(_named(attributes))

    def fail(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self._span.set_status(StatusCode.ERROR, reason)

    def end(self) -> None:
        self._span.end()


def _context(traceparent: str) -> Context:
    """That of a parent, or of nobody: never the one that OpenTelemetry would find around us."""
    if not traceparent:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")
    parent = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {f"reelsift.{name}": value for name, value in attributes.items()}

"""Spans arrive at a real collector, as many as are wanted; one that is away delays nobody for long."""

from __future__ import annotations

import asyncio
import time

import pytest

from orchestrator import tracing
from orchestrator.adapters.telemetry import traces
from orchestrator.adapters.telemetry.tracing import tracing_to
from orchestrator.tracing import Kind
from tests.support.collector import running_collector
from tests.support.tracing import THEIRS


async def test_spans_arrive_with_all_that_is_known_of_them() -> None:
    with running_collector() as collector:
        async with tracing_to(collector.endpoint, 1.0):
            with tracing.span("call", Kind.SERVER, method="x") as call:
                with pytest.raises(ValueError, match="bad"), tracing.span("part", number=3, share=0.5, whole=True):
                    raise ValueError("bad")
                name = call.traceparent
        part, call_span = collector.spans
        assert (call_span.name, call_span.kind, call_span.parent) == ("call", "SERVER", "")
        assert name == f"00-{call_span.trace}-{call_span.id}-01"
        assert (part.parent, part.trace, part.failed) == (call_span.id, call_span.trace, "ValueError")
        assert part.attributes == {"reelsift.number": 3, "reelsift.share": 0.5, "reelsift.whole": True}
        assert part.service == "reelsift"


async def test_a_share_of_the_traces_is_kept_and_all_of_those_that_others_keep() -> None:
    with running_collector() as collector:
        async with tracing_to(collector.endpoint, 0.25):
            for _ in range(400):
                with tracing.span("call"), tracing.span("part"):
                    pass
        kept = len(collector.named("call"))
        assert 50 < kept < 150
        assert len(collector.named("part")) == kept, "a trace is kept whole"
    with running_collector() as collector:
        async with tracing_to(collector.endpoint, 0.0):
            for given in (THEIRS, f"{THEIRS[:-1]}0"):
                with tracing.continued(given), tracing.span("call"):
                    pass
        assert [(span.trace, span.parent) for span in collector.spans] == [(THEIRS[3:35], THEIRS[36:52])]


async def test_a_program_with_opentelemetry_of_its_own_is_our_parent() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    with TracerProvider(shutdown_on_exit=False).get_tracer("theirs").start_as_current_span("theirs") as theirs:
        context = theirs.get_span_context()
        assert tracing.traceparent().startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
    assert tracing.traceparent() == ""


async def test_a_collector_that_is_away_costs_the_spans_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "_END_SECONDS", 0.5)
    began = time.monotonic()
    async with tracing_to("http://127.0.0.1:9", 1.0):
        for _ in range(5000):
            with tracing.span("call"):
                pass
        assert time.monotonic() - began < 5
        await asyncio.sleep(0)
    assert time.monotonic() - began < 10
    assert tracing.traceparent() == ""

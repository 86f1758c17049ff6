"""Spans nest, cross to other processes as a traceparent, and are nothing where nobody traces."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from orchestrator import tracing
from orchestrator.tracing import Kind
from tests.support.tracing import THEIRS, Notes


def test_a_span_belongs_to_the_one_around_it() -> None:
    with tracing.installed(notes := Notes()), tracing.span("call", Kind.SERVER) as call:
        with tracing.span("part", number=3) as part:
            part.set(more="x")
            assert tracing.traceparent() == part.traceparent
        assert tracing.traceparent() == call.traceparent
        assert tracing.trace_id() == call.traceparent[3:35]
    assert [(each.name, each.parent) for each in notes.spans] == [("call", ""), ("part", notes.spans[0].traceparent)]
    assert notes.spans[1].attributes == {"number": 3, "more": "x"}
    assert all(each.ended for each in notes.spans)
    assert tracing.traceparent() == ""


def test_another_process_trace_is_gone_on_with() -> None:
    with tracing.installed(notes := Notes()), tracing.continued(THEIRS), tracing.span("call"):
        assert tracing.trace_id(sampled=True) == "ab" * 16
    assert notes.spans[0].parent == THEIRS


@pytest.mark.parametrize("given", ["", "nonsense", THEIRS[:-1], THEIRS.upper(), f"{THEIRS}-more", "00-" + "0" * 32])
def test_what_is_no_traceparent_is_ignored(given: str) -> None:
    with tracing.installed(notes := Notes()), tracing.continued(given), tracing.span("call"):
        pass
    assert notes.spans[0].parent == ""


def test_a_span_need_not_be_current() -> None:
    with tracing.installed(notes := Notes()), tracing.span("outer") as outer, tracing.span("beside", current=False):
        assert tracing.traceparent() == outer.traceparent
    assert [each.name for each in notes.spans] == ["outer", "beside"]


async def test_tasks_go_on_with_the_span_in_which_they_began() -> None:
    async def work() -> None:
        with tracing.span("work"):
            await asyncio.sleep(0)

    with tracing.installed(notes := Notes()):
        with tracing.span("call") as call:
            tasks = [asyncio.create_task(work()) for _ in range(2)]
        assert tracing.traceparent() == ""
        await asyncio.gather(*tasks)
    assert [each.parent for each in notes.spans] == ["", call.traceparent, call.traceparent]


def test_a_span_fails_with_what_leaves_it() -> None:
    class Typed(Exception):
        reason = "MEDIA_UNREADABLE"

    for error in (Typed(), ValueError("x")):
        with tracing.installed(notes := Notes()), pytest.raises(type(error)), tracing.span("call"):
            raise error
        assert notes.spans[0].failure == getattr(error, "reason", "ValueError")


def test_a_trace_that_nobody_keeps_has_no_exemplars() -> None:
    with tracing.installed(Notes()), tracing.continued(f"{THEIRS[:-1]}0"):
        assert (tracing.trace_id(), tracing.trace_id(sampled=True)) == ("ab" * 16, "")


def test_without_a_tracer_there_is_nothing() -> None:
    with tracing.continued(THEIRS), tracing.span("call", number=1) as call:
        call.set(more=2)
        call.fail("x")
        assert (tracing.traceparent(), tracing.trace_id()) == ("", "")


def test_tracing_imports_nothing_until_somebody_wants_it() -> None:
    program = "import orchestrator.app, orchestrator.cli.main, sys; sys.exit(any(n.startswith('opentelemetry') for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

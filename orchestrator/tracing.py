"""Traces: who asked for what, and how long each part took, across processes.

A span is the current one of whatever runs inside it, tasks that are begun there included; it crosses to other processes as a W3C
``traceparent``. Until a tracer is ``installed`` (``adapters/telemetry/traces.py`` makes OpenTelemetry's) nothing is made, sent or
imported: a span is then one shared object that does nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from enum import Enum, auto
from typing import Protocol

Attribute = str | int | float | bool

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")


class Kind(Enum):
    """Which side of a call a span stands for."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()


class Span(Protocol):
    """Something that takes time. ``traceparent``: how others name it."""

    @property
    def traceparent(self) -> str:
        """As in the W3C's Trace Context."""
        ...

    def set(self, **attributes: Attribute) -> None:
        """Say more of it."""
        ...

    def fail(self, reason: str) -> None:
        """It did not do what it was to do. The first reason counts."""
        ...

    def end(self) -> None:
        """It is over."""
        ...


class Tracer(Protocol):
    """Makes spans, and sends them somewhere."""

    def start(self, name: str, kind: Kind, parent: str, attributes: dict[str, Attribute]) -> Span:
        """A span that begins now. ``parent``: traceparent, or empty for the first of a trace."""
        ...


class _Nothing:
    """The span of nobody."""

    traceparent = ""

    def set(self, **attributes: Attribute) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass

    def end(self) -> None:
        pass


_NOTHING = _Nothing()
_NOWHERE = nullcontext(_NOTHING)
_parent: ContextVar[str] = ContextVar("traceparent", default="")
_tracer: Tracer | None = None


@contextmanager
def installed(tracer: Tracer | None) -> Iterator[None]:
    """Trace with ``tracer`` inside; with none, do not."""
    global _tracer
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before


def span(
    name: str, kind: Kind = Kind.INTERNAL, *, current: bool = True, **attributes: Attribute
) -> AbstractContextManager[Span]:
    """A span around what happens inside. It fails with the exception that leaves it. ``current``: whether what happens inside belongs
    to it, or to its parent as it does itself."""
    return _NOWHERE if _tracer is None else _span(_tracer, name, kind, current, attributes)


@contextmanager
def _span(tracer: Tracer, name: str, kind: Kind, current: bool, attributes: dict[str, Attribute]) -> Iterator[Span]:
    parent = _parent.get()
    made = tracer.start(name, kind, parent, attributes)
    if current:
        _parent.set(made.traceparent)
    try:
        yield made
    except BaseException as error:
        made.fail(str(getattr(error, "reason", "")) or type(error).__name__)
        raise
    finally:
        if current:
            _parent.set(parent)  # not by token: a generator may be closed in another context than it was begun in
        made.end()


@contextmanager
def continued(traceparent: str) -> Iterator[None]:
    """Spans inside go on with another process' trace; one that is none is ignored, as the standard asks."""
    before = _parent.get()
    _parent.set(traceparent if _tracer is not None and _TRACEPARENT.fullmatch(traceparent) else "")
    try:
        yield
    finally:
        _parent.set(before)


def traceparent() -> str:
    """Of the current span, also of one that a program around us made with OpenTelemetry; empty where there is none."""
    return _parent.get() or _foreign()


def trace_id(*, sampled: bool = False) -> str:
    """The current trace's, in hexadecimal; empty where there is none, or where it is to be ``sampled`` and is not."""
    found = _parent.get()
    if not found or (sampled and not int(found[-2:], 16) & 1):
        return ""
    return found[3:35]


def _foreign() -> str:
    library = sys.modules.get("opentelemetry.trace")
    if library is None:
        return ""
    context = library.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def spans_url(endpoint: str) -> str:
    """Where a collector whose address is ``endpoint`` takes spans (OTLP over HTTP)."""
    return f"{endpoint.rstrip('/')}/v1/traces"

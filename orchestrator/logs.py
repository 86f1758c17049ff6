"""Structured logs on stderr: readable lines, or one JSON object a line. ``ops/logs.md`` lists the events and says what the fields are.

Everything that is logged goes this way, also what libraries tell Python's own ``logging``. ``guarded`` is between all of it and the
output: no secret and no picture leaves through a log.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np
import orjson
import structlog
from structlog.typing import EventDict, Processor

from orchestrator import tracing

LEVELS = ("debug", "info", "warning", "error")
MAX_TEXT = 2000  # characters of one value
MAX_TRACEBACK = 20_000
MAX_ITEMS = 50  # of one list or mapping
MAX_DEPTH = 6

_SECRET_NAMES = re.compile(r"authorization|passw|secret|token|cookie|credential|api_?key|private", re.IGNORECASE)
_SECRETS = (
    (re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE), r"\g<before>***@"),
    (re.compile(r"(?P<before>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), r"\g<before>***"),
    (re.compile(r"(?P<before>\b(?:password|passwd|secret|token|api_?key)\s*[=:]\s*)[^\s,;&]+", re.IGNORECASE), r"\g<before>***"),
)  # fmt: skip
_WARNINGS = ("warning", "error", "critical")

_listeners: list[Callable[[str], None]] = []
_level = "info"


def configure(level: str, *, as_json: bool = False, stream: TextIO | None = None) -> None:
    """Log events of ``level`` and above to ``stream`` (stderr)."""
    output = stream or sys.stderr
    renderers: list[Processor]
    if as_json:
        # Without the locals of every frame: they may hold anything.
        traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        renderers = [
            structlog.processors.ExceptionRenderer(traceback),
            guarded,
            structlog.processors.JSONRenderer(_json),
        ]
    else:
        # Plain: drawing the locals of every frame would hold the event loop for a second, and show what they hold.
        plain = structlog.dev.plain_traceback
        console = structlog.dev.ConsoleRenderer(colors=output.isatty(), exception_formatter=plain)
        renderers = [structlog.processors.format_exc_info, guarded, console]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _component,
            _traced,
            _counted,
            *renderers,
        ],
        logger_factory=lambda *names: _Named(output, names[0] if names else ""),
    )
    logging.root.handlers[:] = [_FromLibraries()]
    set_level(level)


def set_level(level: str) -> None:
    """From now on log events of ``level`` and above; libraries' own from warnings on, unless that is ``error``. Raises ``ValueError``."""
    global _level
    if level.lower() not in LEVELS:
        raise ValueError(f"the level is one of {', '.join(LEVELS)}, got {level!r}")
    _level = level.lower()
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(**{**structlog.get_config(), "wrapper_class": structlog.make_filtering_bound_logger(number)})
    logging.root.setLevel(max(number, logging.WARNING))


def level() -> str:
    """The level that was set last."""
    return _level


@contextmanager
def heard(listener: Callable[[str], None]) -> Iterator[None]:
    """Call ``listener`` with the level of each warning and error that is logged meanwhile."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class _Named(structlog.PrintLogger):
    """Writes lines, and knows in which module they were said."""

    def __init__(self, output: TextIO, name: str) -> None:
        super().__init__(output)
        self.name = name


class _FromLibraries(logging.Handler):
    """What libraries say, as one kind of event."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it again, in our way."""
        said = structlog.get_logger(record.name).bind(logger=record.name, message=record.getMessage())
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        said.log(level, "library.said", exc_info=record.exc_info or None)


# --- processors ------------------------------------------------------------------------------------------------------


def _component(logger: Any, _: str, event: EventDict) -> EventDict:
    event.setdefault("component", component(getattr(logger, "name", "")))
    return event


def component(module: str) -> str:
    """The part of the service that a module belongs to: the folder in which it lies; of a library its own name.

    >>> component("orchestrator.adapters.triton.client"), component("orchestrator.pipeline.runner"), component("grpc._cython")
    ('triton', 'pipeline', 'grpc')
    """
    first, _, rest = module.partition(".")
    if first != "orchestrator":
        return first
    return rest.removeprefix("adapters.").partition(".")[0]


def _traced(_: Any, __: str, event: EventDict) -> EventDict:
    if trace_id := tracing.trace_id():
        event["trace_id"] = trace_id
    return event


def _counted(_: Any, __: str, event: EventDict) -> EventDict:
    if _listeners and (said := event["level"]) in _WARNINGS:
        for listener in _listeners:
            listener(said)
    return event


def guarded(_: Any, __: str, event: EventDict) -> EventDict:
    """Every value without secrets, bytes and lengths that nobody reads."""
    return {name: _guard(name, value, 0) for name, value in event.items()}


def _guard(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAMES.search(name):
        return "***"
    if isinstance(value, str):
        return _text(value, MAX_TRACEBACK if name == "exception" else MAX_TEXT)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, np.ndarray):
        return f"<array {value.shape} {value.dtype}>"
    if depth == MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _guard(str(key), each, depth + 1) for key, each in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, Sequence | set | frozenset):
        return [_guard("", each, depth + 1) for each in list(value)[:MAX_ITEMS]]
    return _text(str(value))


def _text(text: str, limit: int = MAX_TEXT) -> str:
    cut = text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
    for pattern, replacement in _SECRETS:
        cut = pattern.sub(replacement, cut)
    return cut


def _json(event: MutableMapping[str, Any], **_: object) -> str:
    return orjson.dumps(event, default=str).decode()

"""Structured logs on stderr."""

from __future__ import annotations

import logging
import sys

import orjson
import structlog

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str, *, as_json: bool = False) -> None:
    """Log events of ``level`` and above, readable or as one JSON object per line."""
    number = logging.getLevelNamesMapping()[level.upper()]
    renderers: list[structlog.typing.Processor]
    if as_json:
        renderers = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(_json)]
    else:
        # Plain: drawing the locals of every frame would hold the event loop for a second.
        plain = structlog.dev.plain_traceback
        renderers = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(number),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, force=True)


def _json(event: object, **_: object) -> str:
    return orjson.dumps(event, default=repr).decode()

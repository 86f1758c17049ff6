"""A client's channel that tells the server whose call it is: the current trace goes along as ``traceparent``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import grpc

from orchestrator import tracing

_KEY = "traceparent"


def traced(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """``channel``, as far as stubs use it."""
    return cast("grpc.aio.Channel", _Channel(channel))


class _Channel:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.unary_unary = _traced(channel.unary_unary)
        self.unary_stream = _traced(channel.unary_stream)
        self.stream_unary = _traced(channel.stream_unary)
        self.stream_stream = _traced(channel.stream_stream)


def _traced(method: Callable[..., Any]) -> Callable[..., Any]:
    def made(*values: Any, **named: Any) -> Callable[..., Any]:
        call = method(*values, **named)

        def called(requests: Any, **options: Any) -> Any:
            span = tracing.traceparent()
            if span:
                options["metadata"] = (*(options.get("metadata") or ()), (_KEY, span))
            return call(requests, **options)

        return called

    return made

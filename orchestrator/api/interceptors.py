"""What every call passes through: its trace, the access log, the counters, and the one place where exceptions become statuses."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

from orchestrator import tracing
from orchestrator.api import status
from orchestrator.errors import ReelsiftError
from orchestrator.pipeline.telemetry import Telemetry

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Any]

_FACTORIES = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class Boundary(grpc.aio.ServerInterceptor):
    """Logs and counts each call once, when it ends, and turns its exception into a status with details."""

    def __init__(self, telemetry: Telemetry | None = None) -> None:
        self._telemetry = telemetry or Telemetry()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the method's behaviour."""
        handler = await continuation(handler_call_details)
        if handler is None:  # an unknown method: gRPC answers UNIMPLEMENTED
            return handler
        kind, factory = _FACTORIES[handler.request_streaming, handler.response_streaming]
        around = _Around(handler_call_details.method, kind == "unary_unary", self._telemetry)
        wrapped = _wrapped(around, getattr(handler, kind))
        return factory(wrapped, handler.request_deserializer, handler.response_serializer)


@dataclass(frozen=True, slots=True)
class _Around:
    """A boundary around the calls of one method, which is one of ours: a client cannot make names."""

    method: str
    unary: bool
    telemetry: Telemetry

    @asynccontextmanager
    async def __call__(self, context: Context) -> AsyncIterator[None]:
        name = self.method.rpartition("/")[2]
        began = time.monotonic()
        self.telemetry.calling("grpc", +1)
        with tracing.continued(_traceparent(context)), tracing.span(f"grpc {name}", tracing.Kind.SERVER) as span:
            ended = _Ended()
            try:
                async with _boundary(self.method, context, ended):
                    yield
            finally:
                seconds = time.monotonic() - began
                if ended.code is not grpc.StatusCode.OK:
                    span.fail(ended.reason or ended.code.name)
                self.telemetry.calling("grpc", -1)
                self.telemetry.called("grpc", name, ended.code.name, seconds if self.unary else None)
                log.info(
                    "grpc.call",
                    method=self.method,
                    analysis_id=_analysis_id(),
                    code=ended.code.name,
                    reason=ended.reason,
                    duration_ms=round(seconds * 1000, 3),
                )


@dataclass(slots=True)
class _Ended:
    """How a call ended."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""


def _wrapped(around: _Around, behaviour: Behaviour) -> Behaviour:
    """``behaviour`` inside the boundary; gRPC tells writers and generators apart by the kind of function."""
    if inspect.isasyncgenfunction(behaviour):

        async def generate(request: Any, context: Context) -> AsyncIterator[Any]:
            async with around(context):
                async for response in behaviour(request, context):
                    yield response

        return generate

    async def answer(request: Any, context: Context) -> Any:
        async with around(context):
            return await behaviour(request, context)

    return answer


@asynccontextmanager
async def _boundary(method: str, context: Context, ended: _Ended) -> AsyncIterator[None]:
    try:
        yield
        ended.code = _code(context) or grpc.StatusCode.OK
    except asyncio.CancelledError:
        ended.code = grpc.StatusCode.CANCELLED
        raise
    except grpc.aio.AbortError:  # a library's own handler (health, reflection) answered already
        ended.code = _code(context) or grpc.StatusCode.UNKNOWN
        raise
    except Exception as error:
        if not isinstance(error, ReelsiftError | status.AnalysisFailed):
            log.exception("grpc.unexpected_error", method=method, analysis_id=_analysis_id())
        answer = status.status_of(error)
        ended.code, ended.reason = status.code_of(answer), status.reason_of(answer)
        await status.abort(context, answer)


def _analysis_id() -> str:
    return str(structlog.contextvars.get_contextvars().get("analysis_id", ""))


def _traceparent(context: Context) -> str:
    return next((str(value) for key, value in context.invocation_metadata() or () if key == "traceparent"), "")


def _code(context: Context) -> grpc.StatusCode | None:
    """The code that a handler set by itself; gRPC gives the bare number where none was set through its enum."""
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else None

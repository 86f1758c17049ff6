"""What every call passes through: the access log, and the one place where exceptions become statuses."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog

from orchestrator.api import status
from orchestrator.errors import ReelsiftError

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
    """Logs each call once, when it ends, and turns its exception into a status with details."""

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
        wrapped = _wrapped(handler_call_details.method, getattr(handler, kind))
        return factory(wrapped, handler.request_deserializer, handler.response_serializer)


def _wrapped(method: str, behaviour: Behaviour) -> Behaviour:
    """``behaviour`` inside the boundary; gRPC tells writers and generators apart by the kind of function."""
    if inspect.isasyncgenfunction(behaviour):

        async def generate(request: Any, context: Context) -> AsyncIterator[Any]:
            async with _boundary(method, context):
                async for response in behaviour(request, context):
                    yield response

        return generate

    async def answer(request: Any, context: Context) -> Any:
        async with _boundary(method, context):
            return await behaviour(request, context)

    return answer


@asynccontextmanager
async def _boundary(method: str, context: Context) -> AsyncIterator[None]:
    began = time.monotonic()
    code = grpc.StatusCode.OK
    reason = ""
    try:
        yield
        code = _code(context) or grpc.StatusCode.OK
    except asyncio.CancelledError:
        code = grpc.StatusCode.CANCELLED
        raise
    except grpc.aio.AbortError:  # a library's own handler (health, reflection) answered already
        code = _code(context) or grpc.StatusCode.UNKNOWN
        raise
    except Exception as error:
        if not isinstance(error, ReelsiftError | status.AnalysisFailed):
            log.exception("grpc.unexpected_error", method=method, analysis_id=_analysis_id())
        answer = status.status_of(error)
        code, reason = status.code_of(answer), status.reason_of(answer)
        await status.abort(context, answer)
    finally:
        log.info(
            "grpc.call",
            method=method,
            analysis_id=_analysis_id(),
            code=code.name,
            reason=reason,
            duration_ms=round((time.monotonic() - began) * 1000, 3),
        )


def _analysis_id() -> str:
    return str(structlog.contextvars.get_contextvars().get("analysis_id", ""))


def _code(context: Context) -> grpc.StatusCode | None:
    """The code that a handler set by itself; gRPC gives the bare number where none was set through its enum."""
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else None

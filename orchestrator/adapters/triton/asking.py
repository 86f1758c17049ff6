"""One request to one version, and who hears how it ended: the supervisor, and the version's tally."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import grpc
import structlog

from orchestrator import tracing
from orchestrator.adapters.triton.connection import Connection, has_dead_stub, is_lost
from orchestrator.adapters.triton.model import Model
from orchestrator.adapters.triton.repository import split
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import Call, Transport
from orchestrator.ports import Outputs

_TRACED = 16  # of so many requests of a model one is a span: a trace shows how they go, and stays readable

log = structlog.get_logger(__name__)


async def ask(
    supervisor: Supervisor,
    transport: Transport,
    state: Model,
    connection: Connection,
    call: Call,
    seconds: float,
    ended: Callable[[], None],
    attempt: int = 1,
) -> Outputs:
    """The outputs, within ``seconds``; ``ended`` as for ``Transport.attempt``. Raises ``TimeoutError``, ``grpc.RpcError``, and
    ``ValueError`` for a slot that has returned."""
    epoch, began = state.epoch, time.monotonic()
    model = split(state.name)[0]
    tell = supervisor.telemetry.inferred
    try:
        with _span(state, attempt):
            outputs = await asyncio.wait_for(transport.attempt(connection, call, ended), seconds)
    except TimeoutError:
        tell(model, "lost", time.monotonic() - began)
        log.warning("triton.request_hung", model=state.name, seconds=seconds, attempt=attempt)
        state.tally.failed()
        supervisor.failed(state, epoch, broken=False, hung=True)
        raise
    except grpc.RpcError as error:
        lost = is_lost(error)
        tell(model, "lost" if lost else "refused", time.monotonic() - began)
        kind = "triton.request_lost" if lost else "triton.request_refused"
        log.warning(kind, model=state.name, code=error.code().name, error=error.details() or "", attempt=attempt)
        state.tally.failed()
        supervisor.failed(state, epoch, broken=has_dead_stub(error))
        raise
    took = time.monotonic() - began
    tell(model, "answered", took)
    state.tally.answered(took)
    supervisor.answered(state, call)
    return outputs


def _span(state: Model, attempt: int) -> AbstractContextManager[object]:
    if state.tally.requests % _TRACED:
        return tracing.continued("")  # so that Triton does not trace it either
    return tracing.span("inference", tracing.Kind.CLIENT, model=state.name, attempt=attempt)

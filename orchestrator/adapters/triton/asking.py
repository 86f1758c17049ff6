"""One request to one version, and who hears how it ended: the supervisor, and the version's tally."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import grpc
import structlog

from orchestrator.adapters.triton.connection import Connection, has_dead_stub, is_lost
from orchestrator.adapters.triton.model import Model
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import Call, Transport
from orchestrator.ports import Outputs

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
    try:
        outputs = await asyncio.wait_for(transport.attempt(connection, call, ended), seconds)
    except TimeoutError:
        log.warning("triton.request_hung", model=state.name, seconds=seconds, attempt=attempt)
        state.tally.failed()
        supervisor.failed(state, epoch, broken=False, hung=True)
        raise
    except grpc.RpcError as error:
        kind = "triton.request_lost" if is_lost(error) else "triton.request_refused"
        log.warning(kind, model=state.name, code=error.code().name, error=error.details() or "", attempt=attempt)
        state.tally.failed()
        supervisor.failed(state, epoch, broken=has_dead_stub(error))
        raise
    state.tally.answered(time.monotonic() - began)
    supervisor.answered(state, call)
    return outputs

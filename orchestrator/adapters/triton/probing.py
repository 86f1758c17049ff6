"""A probe: a real inference of zeros, for a server calls a model ready whose process is dead."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

import grpc
import structlog

from orchestrator.adapters.triton.connection import Connection, is_lost, words
from orchestrator.adapters.triton.model import Model
from orchestrator.adapters.triton.transport import Transport

log = structlog.get_logger(__name__)


class Trial(Enum):
    """How a probe ended."""

    ANSWERED = auto()
    REFUSED = auto()
    LOST = auto()


async def probe(model: Model, connection: Connection, transport: Transport, seconds: float) -> Trial:
    """How a real inference of zeros ends within ``seconds``; taken as answered where its shapes are not known yet."""
    call = model.probe()
    if call is None:
        return Trial.ANSWERED
    try:
        await asyncio.wait_for(transport.attempt(connection, call, lambda: None), seconds)
    except (grpc.RpcError, TimeoutError) as error:
        log.warning("triton.probe_failed", model=model.name, error=words(error))
        return Trial.REFUSED if isinstance(error, grpc.RpcError) and not is_lost(error) else Trial.LOST
    return Trial.ANSWERED

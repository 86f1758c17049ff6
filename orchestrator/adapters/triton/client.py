"""The ``Inference`` port on Triton: bounded requests in flight, and failures of Triton turned into a retry, not an
error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
import structlog

from orchestrator.adapters.triton.connection import Connection, has_dead_stub, is_lost
from orchestrator.adapters.triton.contract import ModelContract
from orchestrator.adapters.triton.model import Model
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import Call, Transport
from orchestrator.core.frames import Slot
from orchestrator.core.results import ModelVersion
from orchestrator.errors import InferenceUnavailable, InternalError
from orchestrator.ports import Outputs, Tensor

_REFUSED_PAUSE_S = 0.5  # before the next try, as often as it was refused

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """``in_flight`` requests per model at least (a model with more instances has as many); a request may take
    ``request_s`` seconds of Triton's time, and is tried ``attempts`` times before its failure is the caller's. A refusal
    is the model's own when it comes ``refusals`` times: a Triton in decay refuses too, for reasons of its own."""

    in_flight: int = 2
    request_s: float = 60.0
    attempts: int = 5
    refusals: int = 3

    def __post_init__(self) -> None:
        if self.in_flight < 1 or self.attempts < 1 or self.refusals < 1 or self.request_s <= 0:
            raise ValueError(f"limits are positive, got {self}")


class TritonInference:
    """Implements ``orchestrator.ports.Inference``."""

    def __init__(self, supervisor: Supervisor, transport: Transport, limits: Limits | None = None) -> None:
        self._supervisor, self._transport, self._limits = supervisor, transport, limits or Limits()
        self._gates: dict[str, asyncio.Semaphore] = {}

    def batch(self, model: str) -> int:
        """See the port."""
        return _contract(self._supervisor.model(model)).batch

    def version(self, model: str) -> ModelVersion:
        """See the port."""
        version = self._supervisor.model(model).version
        assert version is not None, "known since the model was loaded"
        return version

    async def ready(self, models: Sequence[str]) -> None:
        """See the port."""
        await self._supervisor.ready(models)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Slot | Tensor],
        *,
        output_dims: Mapping[str, tuple[int, ...]] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        rows: int | None = None,
    ) -> Outputs:
        """See the port. Also raises ``ValueError`` for inputs that the model does not take, ``InternalError`` when
        the model itself refuses them. Cancelling leaves the request running in Triton; its slots stay pinned until
        it has ended."""
        state, _ = await self._supervisor.healed(model)
        gate = self._gate(state)
        refusals = 0
        for attempt in range(1, self._limits.attempts + 1):
            await gate.acquire()
            try:
                state, connection = await self._supervisor.healed(model)
                call = Call.check(_contract(state), inputs, shapes, output_dims, rows)
            except BaseException:
                gate.release()
                raise
            try:
                outputs = await self._attempt(state, connection, call, gate, attempt)
            except grpc.RpcError as error:
                refusals += 1
                if refusals == self._limits.refusals:
                    raise InternalError(f"the model {model} cannot answer this request", model=model) from error
                await asyncio.sleep(_REFUSED_PAUSE_S * refusals)
                continue
            if outputs is not None:
                return outputs
        raise InferenceUnavailable(f"{model} failed {self._limits.attempts} times in a row on one request", model=model)

    async def _attempt(
        self, state: Model, connection: Connection, call: Call, gate: asyncio.Semaphore, attempt: int
    ) -> Outputs | None:
        """``None``: it was lost. Raises ``grpc.RpcError``: it was refused."""
        epoch = state.epoch
        state.running += 1

        def ended() -> None:
            state.running -= 1
            gate.release()

        try:
            outputs = await asyncio.wait_for(self._transport.attempt(connection, call, ended), self._limits.request_s)
        except TimeoutError:
            log.warning("triton.request_hung", model=state.name, seconds=self._limits.request_s, attempt=attempt)
            self._supervisor.failed(state, epoch, broken=False, hung=True)
            return None
        except grpc.RpcError as error:
            lost = is_lost(error)
            kind = "triton.request_lost" if lost else "triton.request_refused"
            log.warning(kind, model=state.name, code=error.code().name, error=error.details() or "", attempt=attempt)
            self._supervisor.failed(state, epoch, broken=has_dead_stub(error))
            if not lost:
                raise
            return None
        self._supervisor.answered(state, call)
        return outputs

    def _gate(self, state: Model) -> asyncio.Semaphore:
        gate = self._gates.get(state.name)
        if gate is None:
            gate = self._gates[state.name] = asyncio.Semaphore(max(self._limits.in_flight, _contract(state).instances))
        return gate


def _contract(state: Model) -> ModelContract:
    assert state.contract is not None, "a ready model has a contract"
    return state.contract

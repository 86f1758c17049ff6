"""The ``Inference`` port on Triton: bounded requests in flight, and failures of Triton turned into a retry, not an
error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import grpc

from orchestrator.adapters.triton.asking import ask
from orchestrator.adapters.triton.connection import Connection, is_lost
from orchestrator.adapters.triton.contract import ModelContract
from orchestrator.adapters.triton.model import Model
from orchestrator.adapters.triton.repository import split
from orchestrator.adapters.triton.routes import Pin, Routes
from orchestrator.adapters.triton.shadow import Shadow
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import Call, Transport
from orchestrator.core.frames import Slot
from orchestrator.core.results import ModelVersion
from orchestrator.errors import InferenceUnavailable, InternalError, VersionWithdrawn
from orchestrator.pipeline.model_ports import ModelServer
from orchestrator.pipeline.operation_ports import Standing
from orchestrator.ports import Inference, Outputs, Tensor

_LOOK_S = 1.0  # between two looks at whether the version still is to answer
_REFUSED_PAUSE_S = 0.5  # before the next try, as often as it was refused


@dataclass(frozen=True, slots=True)
class Limits:
    """``in_flight`` requests per model at least (a model with more instances has as many); a request may take
    ``request_s`` seconds of Triton's time, ``trial_s`` of a version on trial, and is tried ``attempts`` times before its failure is
    the caller's. A refusal is the model's own when it comes ``refusals`` times: a Triton in decay refuses too, for reasons of its own."""

    in_flight: int = 2
    request_s: float = 60.0
    trial_s: float = 10.0
    attempts: int = 5
    refusals: int = 3

    def __post_init__(self) -> None:
        if min(self.in_flight, self.attempts, self.refusals) < 1 or min(self.request_s, self.trial_s) <= 0:
            raise ValueError(f"limits are positive, got {self}")


class TritonInference:
    """Implements ``orchestrator.ports.Inference``; ``routes`` say which versions answer, and ``shadows`` which answers are compared, by
    Triton's name for who gave them. ``models`` manages both, where there is one.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        transport: Transport,
        limits: Limits | None = None,
    ) -> None:
        self._supervisor, self._transport, self._limits = supervisor, transport, limits or Limits()
        self.routes = Routes()
        self.models: ModelServer | None = None
        self.shadows: Mapping[str, Shadow] = {}

    def batch(self, model: str) -> int:
        """See the port."""
        with self.pinned("") as inference:
            return inference.batch(model)

    def version(self, model: str) -> ModelVersion:
        """See the port."""
        with self.pinned("") as inference:
            return inference.version(model)

    async def ready(self, models: Sequence[str]) -> None:
        """See the port."""
        with self.pinned("") as inference:
            await inference.ready(models)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Slot | Tensor],
        *,
        output_dims: Mapping[str, tuple[int, ...]] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        rows: int | None = None,
    ) -> Outputs:
        """See the port, and ``Pinned.infer``."""
        with self.pinned("") as inference:
            return await inference.infer(model, inputs, output_dims=output_dims, shapes=shapes, rows=rows)

    @contextmanager
    def pinned(self, key: str) -> Iterator[Inference]:
        """See the port."""
        with self.routes.pinned(key) as pin:
            yield Pinned(self, pin)

    async def live(self, seconds: float) -> bool:
        """See ``pipeline.operation_ports.Observable``."""
        return await self._supervisor.live(seconds)

    def standings(self) -> Mapping[str, Standing]:
        """See ``pipeline.operation_ports.Observable``."""
        return self._supervisor.standings()

    def want_again(self, model: str) -> None:
        """See ``pipeline.operation_ports.Observable``. Further versions are the rollouts' to load."""
        if split(model)[1] is None:
            self._supervisor.want([model])

    def gate(self, state: Model) -> asyncio.Semaphore:
        """What bounds the requests in flight of one model, as long as it is loaded under that name: what a version that was dropped never
        answered holds up no later one."""
        if state.gate is None:
            state.gate = asyncio.Semaphore(max(self._limits.in_flight, _contract(state).instances))
        return state.gate


class Pinned:
    """Implements ``orchestrator.ports.Inference`` in the versions of one pin."""

    def __init__(self, whole: TritonInference, pin: Pin) -> None:
        self._whole, self._pin = whole, pin
        self._supervisor, self._transport, self._limits = whole._supervisor, whole._transport, whole._limits

    def batch(self, model: str) -> int:
        """See the port."""
        self._check(model)
        return _contract(self._supervisor.model(self._pin.name(model))).batch

    def version(self, model: str) -> ModelVersion:
        """See the port."""
        self._check(model)
        version = self._supervisor.model(self._pin.name(model)).version
        assert version is not None, "known since the model was loaded"
        return version

    async def ready(self, models: Sequence[str]) -> None:
        """See the port."""
        self._check(*models)
        try:
            await self._supervisor.ready([self._pin.name(model) for model in models])
        except InferenceUnavailable:
            self._check(*models)
            raise

    @contextmanager
    def pinned(self, key: str) -> Iterator[Inference]:
        """See the port."""
        yield self

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
        state, _ = await self._answering(model)
        gate = self._whole.gate(state)
        refusals = 0
        for attempt in range(1, self._limits.attempts + 1):
            await self._enter(model, gate)
            try:
                state, connection = await self._answering(model)
                call = Call.check(_contract(state), inputs, shapes, output_dims, rows)
            except BaseException:
                gate.release()
                raise
            try:
                outputs = await self._attempt(state, connection, call, gate, attempt)
            except grpc.RpcError as error:
                refusals += 1
                self._check(model)
                if refusals == self._limits.refusals and state.name in self._supervisor.expendable:
                    break  # on trial: what it cannot answer, another version may
                if refusals == self._limits.refusals:
                    raise InternalError(f"the model {model} cannot answer this request", model=model) from error
                await asyncio.sleep(_REFUSED_PAUSE_S * refusals)
                continue
            if outputs is not None:
                if shadow := self._whole.shadows.get(state.name):
                    shadow.offer(call, outputs, rows)
                return outputs
        self._check(model)
        raise InferenceUnavailable(f"{model} failed {attempt} times in a row on one request", model=model)

    async def _enter(self, model: str, gate: asyncio.Semaphore) -> None:
        """Wait for a place among the requests in flight, unless the version is withdrawn meanwhile: who holds one may never be answered."""
        while gate.locked():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await gate.acquire()
                    return
            self._check(model)
        await gate.acquire()

    async def _answering(self, model: str) -> tuple[Model, Connection]:
        self._check(model)
        try:
            answering = await self._supervisor.healed(self._pin.name(model))
        except InferenceUnavailable:
            self._check(model)  # that is why it did not come back
            raise
        self._check(model)
        return answering

    def _check(self, *models: str) -> None:
        for model in models:
            if model in self._pin.withdrawn:
                raise VersionWithdrawn(f"the version of {model} that answered here was rolled back", model=model)

    async def _attempt(
        self, state: Model, connection: Connection, call: Call, gate: asyncio.Semaphore, attempt: int
    ) -> Outputs | None:
        """``None``: it was lost. Raises ``grpc.RpcError``: it was refused."""
        state.running += 1
        on_trial = state.name in self._supervisor.expendable
        seconds = min(self._limits.trial_s, self._limits.request_s) if on_trial else self._limits.request_s

        def ended() -> None:
            state.running -= 1
            gate.release()

        try:
            return await ask(self._supervisor, self._transport, state, connection, call, seconds, ended, attempt)
        except TimeoutError:
            return None
        except grpc.RpcError as error:
            if not is_lost(error):
                raise
            return None


def _contract(state: Model) -> ModelContract:
    assert state.contract is not None, "a ready model has a contract"
    return state.contract

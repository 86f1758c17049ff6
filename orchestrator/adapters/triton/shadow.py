"""A candidate is asked what the stable version was asked; nobody hears its answers, they are only compared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import grpc
import numpy as np
import structlog

from orchestrator.adapters.triton.asking import ask
from orchestrator.adapters.triton.model import Phase
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import Call, Transport
from orchestrator.core.agreement import agree
from orchestrator.core.frames import Slot
from orchestrator.errors import InferenceUnavailable
from orchestrator.ports import Outputs, Tensor

_IN_FLIGHT = 2
_REQUEST_S = 20.0  # nobody waits for it, but its slots do

log = structlog.get_logger(__name__)


class Shadow:
    """``share`` of the answers offered are compared with those of the ``candidate`` (Triton's name for it); ``shed`` counts those that it
    was too slow for, or not there for."""

    def __init__(self, supervisor: Supervisor, transport: Transport, candidate: str, share: float) -> None:
        self._supervisor, self._transport = supervisor, transport
        self.candidate, self.share, self.shed = candidate, share, 0
        self._due = 0.0
        self._running: set[asyncio.Task[None]] = set()

    def offer(self, call: Call, outputs: Outputs, rows: int | None) -> None:
        """Compare the answer to ``call``, of which the first ``rows`` rows matter, if it is one of the share. Takes no time: what is
        compared is copied, and slots are held, before it returns."""
        self._due += self.share
        if self._due < 1:
            return
        self._due -= 1
        state = self._supervisor.find(self.candidate)
        if state is None or state.phase is not Phase.READY or len(self._running) >= _IN_FLIGHT:
            self.shed += 1
            return
        assert state.contract is not None, "a ready model has a contract"
        if (
            state.contract.max_batch
            and max(shape[0] for shape in call.input_shapes.values()) > state.contract.max_batch
        ):
            self.shed += 1  # its batches are smaller
            return
        inputs = {name: _kept(value) for name, value in call.inputs.items()}
        same = Call(state.contract, inputs, call.input_shapes, call.output_shapes)
        heard = {name: _rows(array, state.contract.max_batch, rows).copy() for name, array in outputs.items()}
        task = asyncio.create_task(self._compare(same, heard, rows))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _compare(self, call: Call, heard: Outputs, rows: int | None) -> None:
        try:
            state, connection = await self._supervisor.healed(self.candidate)
            state.running += 1

            def ended() -> None:
                state.running -= 1

            said = await ask(self._supervisor, self._transport, state, connection, call, _REQUEST_S, ended)
            answer = {name: _rows(array, call.contract.max_batch, rows) for name, array in said.items()}
            # Beside the loop: an answer may be large.
            agreed = await asyncio.to_thread(agree, heard, answer)
            state.tally.compare(agreed=agreed)
            if not agreed:
                log.info("triton.shadow_disagrees", model=self.candidate)
        except (grpc.RpcError, TimeoutError, InferenceUnavailable):
            pass  # it is in the candidate's tally
        except ValueError:
            self.shed += 1  # the stream is gone, and its slots with it
        finally:
            _let_go(call.inputs)


def _kept(value: Slot | Tensor) -> Slot | Tensor:
    if isinstance(value, np.ndarray):
        return value.copy()
    value.retain()
    return value


def _let_go(inputs: Mapping[str, Slot | Tensor]) -> None:
    for value in inputs.values():
        if not isinstance(value, np.ndarray):
            value.release()


def _rows(array: Tensor, max_batch: int, rows: int | None) -> Tensor:
    return array[:rows] if max_batch else array

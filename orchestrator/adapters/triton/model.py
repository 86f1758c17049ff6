"""What is known of one wanted model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from orchestrator.adapters.triton.contract import ModelContract
from orchestrator.adapters.triton.tally import Tally
from orchestrator.adapters.triton.transport import Call
from orchestrator.core.results import ModelVersion
from orchestrator.errors import ReelsiftError
from orchestrator.pipeline.operation_ports import Standing


class Phase(Enum):
    """The life of a model."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    HEALING = "healing"
    FAILED = "failed"


@dataclass(slots=True)
class Model:
    """A wanted model. ``epoch`` rises whenever it is loaded anew; ``running`` counts requests under way, ``deaths`` its processes
    that died. ``fault``: what was wrong with it, where we know it better than Triton."""

    name: str
    phase: Phase = Phase.UNLOADED
    epoch: int = 0
    running: int = 0
    deaths: int = 0
    contract: ModelContract | None = None
    version: ModelVersion | None = None
    fault: ReelsiftError | None = None
    tally: Tally = field(default_factory=Tally)
    last_call: Call | None = None
    probe_due: float = 0.0
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # READY or FAILED
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    gate: asyncio.Semaphore | None = None  # of the requests in flight, once one was asked

    def settle(self, phase: Phase) -> None:
        """``READY``, ``FAILED`` or, where it is not wanted any more, ``UNLOADED``: nobody has to wait any longer."""
        self.phase = phase
        self.settled.set()

    def unsettle(self, phase: Phase) -> None:
        """``LOADING`` or ``HEALING``: whoever wants an answer waits."""
        self.phase = phase
        self.settled.clear()

    @property
    def standing(self) -> Standing:
        """How it is, for operators."""
        ready, loading = self.phase is Phase.READY, self.phase is Phase.LOADING and self.epoch == 0
        why = self.fault or {Phase.FAILED: "it cannot be loaded"}.get(self.phase, f"it is {self.phase.value}")
        return Standing(ready, loading, self.deaths, "" if ready else str(why))

    async def locked(self, seconds: float) -> bool:
        """Whether the lock was had within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                return await self.lock.acquire()
        except TimeoutError:
            return False

    def probe(self) -> Call | None:
        """A request of zeros that looks like the last one; ``None`` where no shapes are known yet."""
        contract = self.contract
        if contract is None:
            return None
        if self.last_call is not None:
            shapes, outputs = self.last_call.input_shapes, self.last_call.output_shapes
            zeros = {name: np.zeros(shapes[name], spec.dtype) for name, spec in contract.inputs.items()}
            return Call(contract, zeros, shapes, outputs)
        if contract.has_variable_dims:
            return None
        return Call.check(
            contract, {name: np.zeros(contract.shape(spec.dims), spec.dtype) for name, spec in contract.inputs.items()}
        )

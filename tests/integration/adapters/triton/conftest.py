"""A real Triton over tiny models that are made here, so that a test is about Triton and not about a model."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from orchestrator.adapters.frames import shm
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.triton.client import Limits, TritonInference
from orchestrator.adapters.triton.examination import Patience as Examining
from orchestrator.adapters.triton.hosts import EmbeddedHost
from orchestrator.adapters.triton.models import TritonModels
from orchestrator.adapters.triton.server import TritonServer
from orchestrator.adapters.triton.supervisor import Event, Patience, Supervisor
from orchestrator.adapters.triton.transport import SharedMemoryTransport
from orchestrator.core.rollout import Budgets
from orchestrator.ports import Inference

BATCH, SIDE = 8, 16
IMPATIENT = Patience(load_s=20, heal_s=20, probe_period_s=0.4, probe_share=1.0, probe_s=5.0)


def write_model(repository: Path, name: str, *, config: str = "", instances: int = 2, dims: str = f"{SIDE}, {SIDE}, 3"):
    """``sums`` [n, 3]: per picture and channel; ``flat`` [n, k]: every byte as a float."""
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["float", "axes"], ["sums"], keepdims=0),
        helper.make_node("Flatten", ["float"], ["flat"]),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [
            helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n", "k"]),
        ],
        [onnx.numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    fixed = SIDE * SIDE * 3 if "-1" not in dims else -1
    (repository / name / "config.pbtxt").write_text(
        f"""
        name: "{name}" backend: "onnxruntime" max_batch_size: {BATCH}
        input [{{ name: "image" data_type: TYPE_UINT8 dims: [{dims}] }}]
        output [{{ name: "sums" data_type: TYPE_FP32 dims: [3] }}]
        output [{{ name: "flat" data_type: TYPE_FP32 dims: [{fixed}] }}]
        instance_group [{{ kind: KIND_CPU count: {instances} }}]
        parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
        {config}
        """
    )


@dataclass
class Stack:
    """Everything between a caller and Triton."""

    host: EmbeddedHost
    supervisor: Supervisor
    inference: TritonInference
    models: TritonModels
    arena: Arena
    transport: SharedMemoryTransport
    events: list[Event]

    @property
    def server(self) -> TritonServer:
        return self.host.server

    async def right_answer(self, model: str = "one", seed: int = 0, inference: Inference | None = None) -> None:
        """One inference through an arena slot; the answer must be that of its own pixels."""
        pixels = np.random.default_rng(seed).integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
        with await self.arena.allocate(pixels.nbytes) as slot:
            slot.array(pixels.shape)[...] = pixels
            outputs = await (inference or self.inference).infer(model, {"image": slot})
        np.testing.assert_array_equal(outputs["sums"], pixels.sum((1, 2), dtype=np.float32))
        np.testing.assert_array_equal(outputs["flat"], pixels.reshape(BATCH, -1).astype(np.float32))

    async def under_load(self, harm: Callable[[], None], model: str = "one", seconds: float = 3.0) -> tuple[int, float]:
        """Call ``harm`` in the midst of four streams of requests; the count of right answers, and the longest wait."""
        stop, waits, seed = time.monotonic() + seconds, [], 0

        async def stream() -> None:
            nonlocal seed
            while time.monotonic() < stop:
                seed += 1
                began = time.monotonic()
                await self.right_answer(model, seed)
                waits.append(time.monotonic() - began)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(stream())
            await asyncio.sleep(0.5)
            harm()
        return len(waits), max(waits)

    async def eventually(self, kind: str, model: str = "", within: float = 10.0) -> float:
        began = time.monotonic()
        async with asyncio.timeout(within):
            while Event(kind, model) not in self.events:
                await asyncio.sleep(0.01)
        return time.monotonic() - began


@asynccontextmanager
async def running(
    repository: Path,
    models: list[str],
    limits: Limits | None = None,
    patience: Patience = IMPATIENT,
    budgets: Budgets | None = None,
    examining: Examining | None = None,
) -> AsyncIterator[Stack]:
    with Arena(4 << 20) as arena, Arena(4 << 20) as scratch:
        host = EmbeddedHost(repository, [arena, scratch])
        transport = SharedMemoryTransport(scratch)
        supervisor = Supervisor(host, transport, repository, patience)
        events: list[Event] = []
        supervisor.subscribe(events.append)
        await supervisor.start()
        inference = TritonInference(supervisor, transport, limits)
        versions = TritonModels(host, supervisor, transport, inference, repository, budgets, examining)
        try:
            await inference.ready(models)
            yield Stack(host, supervisor, inference, versions, arena, transport, events)
        finally:
            name = host.server.name
            await supervisor.stop()
        await asyncio.sleep(0.05)
        assert arena.in_use == 0, "a frame slot never came home"
        assert scratch.in_use == 0, "a scratch slot never came home"
        assert not list(shm.SHM.glob(f"{name}*")), "Triton's shared memory was left behind"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_model(tmp_path, "one")
    write_model(tmp_path, "two", instances=1)
    return tmp_path


@pytest.fixture
async def stack(repository: Path) -> AsyncIterator[Stack]:
    async with running(repository, ["one"]) as made:
        yield made


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)

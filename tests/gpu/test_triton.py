"""The embedded Triton reads frames out of a GPU's memory, and says what it says of the same frames in host memory."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu.memory import CudaMemory
from orchestrator.adapters.gpu.opening import gpu_of_models
from orchestrator.adapters.triton.client import TritonInference
from orchestrator.adapters.triton.hosts import EmbeddedHost
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import SharedMemoryTransport
from tests.integration.adapters.triton.conftest import BATCH, SIDE, write_model

SHAPE = (BATCH, SIDE, SIDE, 3)


async def test_frames_are_read_where_they_lie(tmp_path: Path) -> None:
    import torch

    from orchestrator.adapters.gpu.cuda import _Block

    write_model(tmp_path, "one")
    pixels = np.random.default_rng(5).integers(0, 256, SHAPE, np.uint8)
    memory = CudaMemory(0, 1 << 20)
    with closing(Arena(memory.nbytes, memory)) as arena, closing(Arena(1 << 20)) as scratch:
        transport = SharedMemoryTransport(scratch)
        host = EmbeddedHost(tmp_path, [arena, scratch], gpu=gpu_of_models(arena))
        supervisor = Supervisor(host, transport, tmp_path)
        await supervisor.start()
        try:
            inference = TritonInference(supervisor, transport)
            await inference.ready(["one"])
            with await arena.allocate(pixels.nbytes) as slot, slot.sublease(lambda: None, on_gpu=True) as lent:
                # In this process the allocation is its own: no handle can be opened where it was made.
                address = memory._pointer
                assert address is not None
                there = torch.as_tensor(_Block(address.value + slot.offset, pixels.nbytes), device="cuda")
                there.copy_(torch.from_numpy(pixels).flatten())
                torch.cuda.synchronize()
                outputs = await inference.infer("one", {"image": lent})
        finally:
            await supervisor.stop()
    memory.free()
    np.testing.assert_array_equal(outputs["sums"], pixels.sum((1, 2), dtype=np.float32))

"""Memory of a GPU in several processes: what one writes, others read, and the one that allocates touches none of it."""

from __future__ import annotations

import subprocess
import sys

from orchestrator.adapters.gpu.memory import CudaMemory

USE = """
import sys, torch
from orchestrator.adapters.gpu.cuda import _Block
from orchestrator.adapters.gpu.memory import open_memory
torch.zeros(1, device="cuda")
memory = torch.as_tensor(_Block(open_memory(bytes.fromhex(sys.argv[1])), 1 << 20), device="cuda")
if sys.argv[2] == "write":
    memory.copy_(torch.arange(1 << 20, device="cuda") % 251)
    torch.cuda.synchronize()
else:
    print(int((memory == (torch.arange(1 << 20, device="cuda") % 251)).all()))
"""


def use(handle: bytes, what: str) -> str:
    done = subprocess.run([sys.executable, "-c", USE, handle.hex(), what], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_two_processes_share_it() -> None:
    memory = CudaMemory(0, 1 << 20)
    try:
        use(memory.handle, "write")
        assert use(memory.handle, "read") == "1"
    finally:
        memory.free()


def test_it_is_given_back() -> None:
    """A hundred times an eighth of the card."""
    import torch

    free, _ = torch.cuda.mem_get_info(0)
    for _ in range(100):
        CudaMemory(0, free // 8).free()
    after, _ = torch.cuda.mem_get_info(0)
    assert after > free * 0.95


def test_where_there_is_less_it_takes_less() -> None:
    memory = CudaMemory.of_at_most(0, 1 << 42, 1 << 20)
    assert 1 << 20 <= memory.nbytes < 1 << 42
    memory.free()

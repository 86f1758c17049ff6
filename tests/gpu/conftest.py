"""Tests that need an NVIDIA GPU. Without one they are skipped; where one is promised (REELSIFT_GPU_PROMISED=1) they run, and fail."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu.memory import CudaMemory, gpus
from orchestrator.adapters.gpu.process import GpuProcess

WHY = "no NVIDIA GPU here: the driver (libcuda.so.1) shows none"
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacking = not gpus() and not os.environ.get("REELSIFT_GPU_PROMISED")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if lacking:
                item.add_marker(pytest.mark.skip(reason=WHY))


Decoding = Callable[[], Awaitable[tuple[ProcessDecoder, GpuProcess, Arena]]]


@pytest.fixture
async def decoding() -> AsyncIterator[Decoding]:
    """Makes a decoder with a GPU process, over an arena on the first GPU."""
    async with AsyncExitStack() as stack:

        async def make() -> tuple[ProcessDecoder, GpuProcess, Arena]:
            memory = CudaMemory(0, 64 << 20)
            stack.callback(memory.free)
            arena = stack.enter_context(closing(Arena(memory.nbytes, memory)))
            gpu = GpuProcess(arena)
            stack.push_async_callback(gpu.close)
            await gpu.start()
            decoder = ProcessDecoder(arena, threads=2, gpu=gpu)
            stack.push_async_callback(decoder.close)
            return decoder, gpu, arena

        yield make

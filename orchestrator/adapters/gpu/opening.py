"""Which GPU a service uses, if any."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu.memory import CudaError, CudaMemory, CudaMissing, gpus
from orchestrator.adapters.gpu.process import GpuProcess, GpuUnavailable
from orchestrator.errors import SetupError

AUTO, OFF = "auto", "off"
LEAST_BYTES = 32 << 20  # of an arena: a few slots of the largest tap
PACKAGES = ("torch", "PyNvVideoCodec")  # what the GPU process needs

log = structlog.get_logger(__name__)


def open_memory_on(wanted: str, nbytes: int, *, shared: bool = True) -> CudaMemory | None:
    """The arena's memory on the GPU that the setting names: up to ``nbytes``, less where there is less. ``None`` for ``off``, and for
    ``auto`` where there is no GPU, what it takes to use one is not installed, or Triton does not share our memory. Raises
    ``SetupError`` where a GPU was asked for by number.
    """
    if wanted not in (AUTO, OFF) and not shared:
        raise SetupError(f"GPU {wanted} cannot be used: Triton runs elsewhere and does not share our memory")
    if not shared:
        return None
    if wanted == OFF or (wanted == AUTO and not gpus()):
        return None
    lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    try:
        if lacking:
            raise CudaMissing(f"decoding there needs {' and '.join(lacking)}; install the extra 'gpu'")
        memory = CudaMemory.of_at_most(0 if wanted == AUTO else int(wanted), nbytes, min(nbytes, LEAST_BYTES))
    except (CudaError, CudaMissing) as error:
        if wanted != AUTO:
            raise SetupError(f"GPU {wanted} cannot be used: {error}") from error
        log.warning("gpu.not_used", cause=str(error))
        return None
    if memory.nbytes < nbytes:
        log.warning("gpu.arena_shrunk", wanted=nbytes, got=memory.nbytes)
    return memory


def gpu_of_models(arena: Arena) -> int | None:
    """Number of the GPU on which the embedded Triton can run models: the arena's, with an ONNX Runtime that was built for it."""
    if arena.gpu is None:
        return None
    try:
        importlib.metadata.distribution("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        log.warning("gpu.models_on_cpu", cause="onnxruntime-gpu is not installed")
        return None
    return arena.gpu.ordinal


@asynccontextmanager
async def running_gpu(arena: Arena, wanted: str) -> AsyncIterator[GpuProcess | None]:
    """The GPU process of the arena's GPU, warm; ``None`` without one. Raises ``SetupError`` where a GPU was asked for by number and its
    process does not come up.
    """
    if arena.gpu is None:
        yield None
        return
    process = GpuProcess(arena)
    try:
        try:
            await process.start()
        except GpuUnavailable as error:
            if wanted != AUTO:
                raise SetupError(f"GPU {wanted} cannot decode: {error}") from error
            log.warning("gpu.not_used", cause=str(error))
            yield None
            return
        log.info("gpu.started", ordinal=arena.gpu.ordinal, pid=process.pid)
        yield process
    finally:
        await process.close()

"""Whether the GPU is there, and what is left of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.core.health import Limits, Reading, Seen, Status, measured, up


@dataclass(frozen=True, slots=True)
class Use:
    """Of one GPU: bytes, and shares of 0..1."""

    memory: int
    size: int
    cores: float
    decoders: float


class GpuGone(Exception):
    """The driver does not answer, or does not know the GPU; the message is its own."""


class Gpu:
    """``gpu/NUMBER`` of the GPU that the service uses or is to use; ``limits`` are of the used share of its memory. ``left_alone``: whether
    its decoding was given up for a while, because the process dies there again and again."""

    def __init__(
        self,
        number: int,
        limits: Limits,
        *,
        use: Callable[[int], Use] | None = None,
        left_alone: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = f"gpu/{number}"
        self._number, self._limits, self._left_alone = number, limits, left_alone
        self._use = use or Nvml()

    async def look(self) -> Seen:
        """See the port."""
        number = self._number
        try:
            use = await asyncio.to_thread(self._use, number)
        except GpuGone as error:
            return Seen((up(self.name, False, f"it was promised, and is not there: {error}"),))
        used = use.memory / use.size
        reading = measured(self.name, used, "ratio", self._limits, f"of its memory; cores {use.cores:.0%}")
        if self._left_alone():
            status = max(reading.status, Status.WARNING)
            detail = "its process dies again and again: videos are decoded on the CPU"
            reading = Reading(self.name, status, used, "ratio", self._limits, detail)
        values = {
            f"gpu_memory_used_bytes/{number}": float(use.memory),
            f"gpu_memory_size_bytes/{number}": float(use.size),
            f"gpu_ratio/{number}": use.cores,
            f"nvdec_ratio/{number}": use.decoders,
        }
        return Seen((reading,), values)


class NoGpu:
    """``gpu``: none is used, and that is as it should be."""

    name = "gpu"

    async def look(self) -> Seen:
        """See the port."""
        return Seen((Reading("gpu", Status.HEALTHY, 0.0, detail="none is used: all is done on the CPU"),))


class Nvml:
    """NVIDIA's management library, opened when it is first asked, and anew after it failed."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._open = False

    def __call__(self, number: int) -> Use:
        """What it says of GPU ``number``, as CUDA counts those that we may see. Raises ``GpuGone``."""
        import pynvml as nvml

        try:
            if not self._open:
                nvml.nvmlInit()
                self._open = True
            handle = _handle(nvml, number, self._environment)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            cores = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
            decoders, _ = nvml.nvmlDeviceGetDecoderUtilization(handle)
            return Use(int(memory.used), int(memory.total), cores / 100, decoders / 100)
        except nvml.NVMLError as error:
            if self._open:
                self._open = False
                with suppress(nvml.NVMLError):
                    nvml.nvmlShutdown()
            raise GpuGone(str(error)) from error


def _handle(nvml: Any, number: int, environment: Mapping[str, str]) -> Any:
    """``CUDA_VISIBLE_DEVICES`` names those that CUDA sees, by number or by id; it knows nothing of NVML, nor NVML of it."""
    seen = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if not seen:
        return nvml.nvmlDeviceGetHandleByIndex(number)
    if number >= len(seen):
        raise GpuGone("CUDA_VISIBLE_DEVICES hides it")
    name = seen[number]
    return nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)

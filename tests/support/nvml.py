"""NVIDIA's management library, as a machine with GPUs would have it."""

from __future__ import annotations

from types import ModuleType
from typing import Any


class FakeNvml(ModuleType):
    """NVIDIA's library with two GPUs, until it is gone."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.gone = False
        self.opened = self.closed = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if self.gone:
            raise self.NVMLError("Driver Not Loaded")
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.closed += 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if self.gone or index > 1:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:  # noqa: N802
        return {"GPU-b": 1}[name]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return type("Memory", (), {"used": 10 + handle, "total": 100})

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return type("Rates", (), {"gpu": 40, "memory": 1})

    def nvmlDeviceGetDecoderUtilization(self, handle: int) -> list[int]:  # noqa: N802
        return [20, 166000]

"""One NVIDIA GPU, as the GPU process has it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from orchestrator.adapters.gpu import nvdec
from orchestrator.adapters.gpu.device import HardwareDecoder, mapped
from orchestrator.adapters.gpu.memory import current_context, open_memory
from orchestrator.adapters.gpu.wire import Stream
from orchestrator.errors import SetupError

MOST_IDLE = 16  # decoders kept for the next who wants the like: making one takes some 100 ms


class CudaDevice:
    """A ``Device``. Opened by ``open``."""

    def __init__(self, ordinal: int, library: Any, memory: Tensor, mirror: Tensor) -> None:
        self.torch_device = torch.device("cuda", ordinal)
        self.memory, self.mirror = memory, mirror
        self._ordinal, self._library = ordinal, library
        self._context = current_context()
        self._output = nvdec.Output()
        self._lock = threading.Lock()
        self._idle: list[tuple[Stream, HardwareDecoder]] = []

    @classmethod
    def open(cls, ordinal: int, arena_fd: int, nbytes: int, handle: bytes) -> CudaDevice:
        """The GPU, its part of the arena by the handle of its memory, and the part in host memory by its descriptor. Raises
        ``SetupError`` where torch has no GPU, and what the library raises.
        """
        if not torch.cuda.is_available():
            raise SetupError(f"torch {torch.__version__} finds no GPU: is it a build for CUDA?")
        torch.cuda.set_device(ordinal)
        torch.cuda.init()
        torch.zeros(1, device="cuda")  # makes the context
        library = importlib.import_module("PyNvVideoCodec")  # links the driver, so only here
        memory = torch.as_tensor(_Block(open_memory(handle), nbytes), device="cuda")
        mirror = mapped(arena_fd, nbytes)
        # Page-locked, the device copies it by itself. Where that may not be, copies are slower, and still right.
        torch.cuda.cudart().cudaHostRegister(mirror.data_ptr(), nbytes, 0)
        return cls(ordinal, library, memory, mirror)

    def decodes(self, stream: Stream) -> bool:
        """See ``Device``."""
        return nvdec.supported(self._library, self._ordinal, stream)

    def decoder(self, stream: Stream) -> HardwareDecoder:
        """See ``Device``."""
        with self._lock:
            for place, (kind, idle) in enumerate(self._idle):
                if _alike(kind, stream):
                    del self._idle[place]
                    return idle
        return nvdec.NvdecDecoder(self._library, stream, self._ordinal, self._context, self._output)

    def give_back(self, stream: Stream, decoder: HardwareDecoder) -> None:
        """See ``Device``."""
        with self._lock:
            self._idle.append((stream, decoder))
            spare = self._idle.pop(0)[1] if len(self._idle) > MOST_IDLE else None
        del spare  # outside the lock: it takes its time

    def lane(self) -> AbstractContextManager[object]:
        """See ``Device``."""
        lane: AbstractContextManager[object] = torch.cuda.stream(torch.cuda.Stream(self._ordinal))
        return lane

    def event(self) -> object:
        """See ``Device``."""
        return torch.cuda.current_stream().record_event()

    def wait(self, events: Sequence[object]) -> None:
        """See ``Device``."""
        stream = torch.cuda.current_stream()
        for event in events:
            stream.wait_event(event)

    def synchronize(self) -> None:
        """See ``Device``."""
        torch.cuda.current_stream().synchronize()


class _Block:
    """Memory of another process, for torch."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (address, False),
            "strides": None,
            "version": 3,
        }


def _alike(one: Stream, other: Stream) -> bool:
    """Whether a decoder of the one does for the other."""
    return (one.codec, one.width, one.height, one.depth) == (other.codec, other.width, other.height, other.depth)

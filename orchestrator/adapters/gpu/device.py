"""What the GPU process needs of a device: memory that it shares, and hardware decoders."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from orchestrator.adapters.gpu.wire import Stream


@dataclass(frozen=True)
class Surface:
    """A decoded frame: NV12 or P016, ``[h + ceil(h / 2), w]``, memory of its own."""

    pts: int
    width: int
    height: int
    samples: Tensor


class HardwareDecoder(Protocol):
    """One decoder session. Not thread-safe. Anything that it raises ends its use."""

    @property
    def faults(self) -> int:
        """Pictures that it has concealed errors in, as far as the hardware tells."""
        ...

    def decode(self, data: bytes, pts: int) -> Sequence[Surface]:
        """Take a packet; the frames that come out, in display order."""
        ...

    def drain(self) -> Sequence[Surface]:
        """The frames that are left. Afterwards it begins anew with a keyframe."""
        ...


class Device(Protocol):
    """One GPU. ``torch_device`` computes; ``memory`` and ``mirror`` are uint8 ``[nbytes]``: the arena there, and in host memory."""

    torch_device: torch.device
    memory: Tensor
    mirror: Tensor

    def decodes(self, stream: Stream) -> bool:
        """Whether its hardware decodes such a stream."""
        ...

    def decoder(self, stream: Stream) -> HardwareDecoder:
        """A decoder for it that nobody else uses."""
        ...

    def give_back(self, stream: Stream, decoder: HardwareDecoder) -> None:
        """A decoder that has been drained, for the next who wants the like."""
        ...

    def lane(self) -> AbstractContextManager[object]:
        """Within it, this thread's work runs beside that of others, in its own order."""
        ...

    def event(self) -> object:
        """A mark behind what this thread's lane has to do."""
        ...

    def wait(self, events: Sequence[object]) -> None:
        """Have this thread's lane wait for marks of others."""
        ...

    def synchronize(self) -> None:
        """Return when this thread's lane has done everything."""
        ...


def mapped(fd: int, nbytes: int) -> Tensor:
    """The file's memory as uint8 ``[nbytes]``."""
    return torch.frombuffer(mmap.mmap(fd, nbytes), dtype=torch.uint8)

"""A GPU process without a GPU: everything as it is, but that libav makes the surfaces, and torch computes on the CPU.

python -m tests.support.gpu FAULTS SOCKET_FD ORDINAL
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count

import av
import numpy as np
import torch

from orchestrator.adapters.gpu import server
from orchestrator.adapters.gpu.device import HardwareDecoder, Surface, mapped
from orchestrator.adapters.gpu.wire import Stream


def surface(frame: av.VideoFrame) -> torch.Tensor:
    """The frame as NV12, or as P016 where it has more than 8 bits: ``[h + ceil(h / 2), w]``."""
    deep = frame.format.components[0].bits > 8
    stored = frame.reformat(format="p010le" if deep else "nv12")
    dtype = np.dtype(np.uint16 if deep else np.uint8)
    planes = [
        np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)[: plane.height, : frame.width]
        for plane in stored.planes
    ]
    return torch.from_numpy(np.concatenate(planes))


@dataclass(frozen=True)
class HostMemory:
    """A ``GpuMemory``: the arena's own, so that what is written there is read here."""

    ordinal: int = 0
    handle: bytes = bytes(64)


@dataclass(frozen=True)
class Faults:
    """How the decoder misbehaves: it leaves out every ``lost``-th frame, raises at every ``raised``-th packet, ends the process at every
    ``died``-th, and spoils what comes out at every ``damaged``-th, and says so. 0: never. ``codecs``: those that it decodes.
    """

    lost: int = 0
    raised: int = 0
    died: int = 0
    damaged: int = 0
    codecs: str = "h264 hevc vp9 vp8 av1 mpeg2video"

    def argument(self) -> str:
        return f"{self.lost},{self.raised},{self.died},{self.damaged},{self.codecs}"

    @classmethod
    def parse(cls, argument: str) -> Faults:
        *numbers, codecs = argument.split(",")
        return cls(*map(int, numbers), codecs=codecs)


class HostDecoder:
    """A ``HardwareDecoder``: libav's, fed with an elementary stream that it knows nothing of but the codec."""

    def __init__(self, stream: Stream, faults: Faults) -> None:
        self._context = av.CodecContext.create("libdav1d" if stream.codec == "av1" else stream.codec, "r")
        self._context.thread_count = 1
        self._faults, self._packets, self._frames = faults, count(1), count(1)
        self.faults = 0

    def decode(self, data: bytes, pts: int) -> Sequence[Surface]:
        number = next(self._packets)
        if self._faults.died and number % self._faults.died == 0:
            sys.stderr.flush()
            server.leave()
        if self._faults.raised and number % self._faults.raised == 0:
            raise RuntimeError("a fault of the hardware")
        packet = av.Packet(data)
        packet.pts = pts
        surfaces = self._surfaces(self._context.decode(packet))
        if self._faults.damaged and number % self._faults.damaged == 0:
            self.faults += 1
            for spoilt in surfaces:
                spoilt.samples.zero_()
        return surfaces

    def drain(self) -> Sequence[Surface]:
        made = self._surfaces(self._context.decode(None))
        self._context.flush_buffers()
        return made

    def _surfaces(self, frames: Sequence[av.VideoFrame]) -> list[Surface]:
        made = []
        for frame in frames:
            if self._faults.lost and next(self._frames) % self._faults.lost == 0:
                continue
            made.append(Surface(frame.pts, frame.width, frame.height, surface(frame)))
        return made


class HostDevice:
    """A ``Device`` without one."""

    def __init__(self, faults: Faults, memory: torch.Tensor) -> None:
        self.torch_device = torch.device("cpu")
        self.memory = self.mirror = memory
        self._faults = faults

    def decodes(self, stream: Stream) -> bool:
        return stream.codec in self._faults.codecs.split()

    def decoder(self, stream: Stream) -> HostDecoder:
        return HostDecoder(stream, self._faults)

    def give_back(self, stream: Stream, decoder: HardwareDecoder) -> None:
        pass

    def lane(self) -> AbstractContextManager[object]:
        return nullcontext()

    def event(self) -> object:
        return None

    def wait(self, events: Sequence[object]) -> None:
        pass

    def synchronize(self) -> None:
        pass


def command(faults: Faults | None = None) -> tuple[str, ...]:
    """For ``GpuProcess``."""
    return (sys.executable, "-m", "tests.support.gpu", (faults or Faults()).argument())


if __name__ == "__main__":
    torch.set_num_threads(1)
    broken, socket_fd, ordinal = sys.argv[1:]
    server.main(
        int(socket_fd),
        int(ordinal),
        lambda number, fd, nbytes, handle: HostDevice(Faults.parse(broken), mapped(fd, nbytes)),
    )
    server.leave()

"""NVDEC through PyNvVideoCodec: one hardware decoder session, fed with elementary streams.

The library tells of damage only on standard output (``Decode Error occurred for picture``), and gives such pictures out as if they were
whole; so ``watch_output`` reads what it prints.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from orchestrator.adapters.gpu.device import Surface
from orchestrator.adapters.gpu.wire import Stream

#: libav's codec -> name in ``PyNvVideoCodec.cudaVideoCodec``
CODECS: Mapping[str, str] = MappingProxyType(
    {"h264": "H264", "hevc": "HEVC", "av1": "AV1", "vp9": "VP9", "vp8": "VP8", "mpeg2video": "MPEG2"}
)
_DAMAGE = b"Decode Error occurred"
_libc = ctypes.CDLL(None)


class Output:
    """What this process prints on standard output, which nobody else needs: counts reports of damage."""

    def __init__(self) -> None:
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.dup2(writing, 1)
        os.close(writing)
        self._rest = b""
        self.damage = 0

    def read(self) -> int:
        """Reports so far."""
        _libc.fflush(None)
        while True:
            try:
                printed = os.read(self._reading, 65536)
            except BlockingIOError:
                return self.damage
            text = self._rest + printed
            self.damage += text.count(_DAMAGE)
            self._rest = text[-(len(_DAMAGE) - 1) :]


class NvdecDecoder:
    """A ``HardwareDecoder`` with a CUDA stream of its own, for whichever thread uses it; ``context`` is a raw CUcontext."""

    def __init__(self, library: Any, stream: Stream, ordinal: int, context: int, output: Output) -> None:
        self._library, self._output = library, output
        self._stream = torch.cuda.Stream(ordinal)
        self._decoder = library.CreateDecoder(
            gpuid=ordinal,
            codec=getattr(library.cudaVideoCodec, CODECS[stream.codec]),
            cudacontext=context,
            cudastream=self._stream.cuda_stream,
            usedevicememory=True,
        )

    @property
    def faults(self) -> int:
        """See ``HardwareDecoder``. Counted for all decoders of this process: one that was healthy may be suspected too, and its
        unit is then decoded once more, on the CPU.
        """
        return self._output.read()

    def decode(self, data: bytes, pts: int) -> Sequence[Surface]:
        """See ``HardwareDecoder``."""
        packet = self._library.PacketData()
        buffer = ctypes.create_string_buffer(data, len(data))  # the parser may read until it returns
        packet.bsl_data, packet.bsl = ctypes.addressof(buffer), len(data)
        packet.pts = pts
        return self._surfaces(packet)

    def drain(self) -> Sequence[Surface]:
        """See ``HardwareDecoder``."""
        packet = self._library.PacketData()
        packet.decode_flag = int(self._library.VideoPacketFlag.ENDOFSTREAM)
        return self._surfaces(packet)

    def _surfaces(self, packet: Any) -> list[Surface]:
        asking = torch.cuda.current_stream()
        with torch.cuda.stream(self._stream):
            made = [_copied(frame) for frame in self._decoder.Decode(packet)]
        asking.wait_stream(self._stream)
        for surface in made:
            surface.samples.record_stream(asking)
        return made


def _copied(frame: Any) -> Surface:
    """A frame in memory of its own: the library's buffer is written again by the next packet."""
    luma, chroma = frame.cuda()
    height, width = int(luma.shape[0]), int(luma.shape[1])
    planes = (torch.as_tensor(_Plane(view), device="cuda").view(-1, width) for view in (luma, chroma))
    return Surface(int(frame.getPTS()), width, height, torch.cat(list(planes)))


class _Plane:
    """A plane of the library's as others read it: ``__cuda_array_interface__``, version 3, without its stream, which is ours."""

    def __init__(self, view: Any) -> None:
        interface = dict(view.__cuda_array_interface__)
        interface |= {"shape": tuple(interface["shape"]), "strides": None, "stream": None}
        self.__cuda_array_interface__ = interface


def supported(library: Any, ordinal: int, stream: Stream) -> bool:
    """Whether GPU ``ordinal`` decodes such a stream."""
    if stream.codec not in CODECS:
        return False
    caps = library.GetDecoderCaps(
        gpuid=ordinal,
        codec=getattr(library.cudaVideoCodec, CODECS[stream.codec]),
        chromaformat=getattr(library.cudaVideoChromaFormat, "420"),
        bitdepth=stream.depth,
    )
    return fits(stream, caps)


def fits(stream: Stream, caps: Mapping[str, int]) -> bool:
    """Whether capabilities as ``GetDecoderCaps`` gives them hold the stream; they are zero for what is not decoded at all."""
    blocks = (stream.width // 16) * (stream.height // 16)
    return (
        caps["width_min"] <= stream.width <= caps["width_max"]
        and caps["height_min"] <= stream.height <= caps["height_max"]
        and blocks <= caps["mb_num_max"]
    )

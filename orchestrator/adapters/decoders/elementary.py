"""Packets as hardware decoders want them: elementary streams that begin with their parameter sets.

MP4 and Matroska store H.264 and HEVC as length-prefixed NAL units and the parameter sets apart (ISO/IEC 14496-15); decoders want
start codes (Annex B). Other codecs are passed on as they are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

START_CODE = b"\0\0\0\1"


class NotElementary(ValueError):
    """A packet or a header that does not follow its own lengths."""


@dataclass(frozen=True, slots=True)
class Elementary:
    """How one stream is passed on. ``headers`` go before the first packet of whatever is decoded by itself; ``length_size`` is the
    number of bytes of a NAL unit's length, 0 where packets need no change.
    """

    headers: bytes = b""
    length_size: int = 0

    @classmethod
    def of(cls, codec: str, extradata: bytes | None) -> Elementary:
        """From the stream's codec and extradata. Raises ``NotElementary``."""
        data = extradata or b""
        try:
            if codec == "h264":
                return _avcc(data) if data[:1] == b"\1" else cls(data)
            if codec == "hevc":
                return _hvcc(data) if len(data) > 22 and data[:3] != b"\0\0\0" and data[:3] != b"\0\0\1" else cls(data)
        except (IndexError, struct.error) as error:
            raise NotElementary(f"the {codec} configuration record is cut short") from error
        if codec == "av1":
            return cls(data[4:] if data[:1] == b"\x81" else data)  # configOBUs behind av1C's four bytes
        return cls()

    def packet(self, data: bytes) -> bytes:
        """A packet's payload as the decoder wants it. Raises ``NotElementary``."""
        if not self.length_size:
            return data
        made, at = bytearray(), 0
        while at < len(data):
            size = int.from_bytes(data[at : at + self.length_size], "big")
            at += self.length_size
            if at + size > len(data):
                raise NotElementary("a NAL unit is longer than its packet")
            made += START_CODE
            made += data[at : at + size]
            at += size
        return bytes(made)


def _avcc(data: bytes) -> Elementary:
    """AVCDecoderConfigurationRecord."""
    headers, at = bytearray(), 6
    at = _take(headers, data, at, data[5] & 0x1F)  # sequence parameter sets
    _take(headers, data, at + 1, data[at])  # picture parameter sets
    return Elementary(bytes(headers), (data[4] & 3) + 1)


def _hvcc(data: bytes) -> Elementary:
    """HEVCDecoderConfigurationRecord."""
    headers, at = bytearray(), 23
    for _ in range(data[22]):
        (count,) = struct.unpack_from(">H", data, at + 1)
        at = _take(headers, data, at + 3, count)
    return Elementary(bytes(headers), (data[21] & 3) + 1)


def _take(headers: bytearray, data: bytes, at: int, count: int) -> int:
    """Add ``count`` NAL units, each behind a length of two bytes; returns where they end."""
    for _ in range(count):
        (size,) = struct.unpack_from(">H", data, at)
        if at + 2 + size > len(data):
            raise NotElementary("a parameter set is longer than its record")
        headers += START_CODE + data[at + 2 : at + 2 + size]
        at += 2 + size
    return at

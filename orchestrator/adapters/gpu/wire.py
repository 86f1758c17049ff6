"""Messages between a decode worker and the GPU process: a header of 16 bytes, then a payload, on a stream socket.

A worker has one connection on which it fills slots, and one for each of its decoding threads. The GPU process takes a worker for
hostile, and reads nothing without a bound. Neither end pickles.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MAX_PAYLOAD = 64 << 20
PACKETS = 16  # that a worker sends before it takes what has come out
_HEADER = struct.Struct("<BxxxIq")  # kind, bytes of the payload, value
_FRAME = struct.Struct("<qHHHxx")  # pts, width, height, pictures
_PICTURE = struct.Struct("<HHHxxI")  # tap, rows and columns of the thumbnail (0: none), handle
_PLACE = struct.Struct("<HxxI")  # row, handle (0: it is in the slot's mirror)
_WANTED = struct.Struct("<I")
_HANDLE = struct.Struct("<I")


class Kind(IntEnum):
    """What a message says. Those of a worker first."""

    OPEN = 1  # this is the stream (a ``Stream``)
    START = 2  # a unit begins; value 1: the one before was given up, its decoder is not to be trusted
    PACKET = 3  # value: its pts; taps that want its frame, then its bytes
    RESTART = 4  # give out what is left, and begin with nothing
    RUN = 5  # answer with what has come out; value 1: with all that is left too; handles that are not needed any more
    FILL = 6  # value: tap << 16 | slot; what goes into which row
    OPENED = 16  # value 1: it can be decoded here
    FRAMES = 17  # what has come out; value 1: something could not be decoded
    FILLED = 18


class ConnectionLost(Exception):
    """The other end has gone."""


class WireError(Exception):
    """The other end said something that it must not say."""


class Connection:
    """One end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, kind: Kind, value: int = 0, *parts: bytes) -> None:
        """Send a message whose payload is the ``parts``. Raises ``ConnectionLost``."""
        head = _HEADER.pack(kind, sum(map(len, parts)), value)
        try:
            self._socket.sendall(b"".join((head, *parts)))
        except OSError as error:
            raise ConnectionLost from error

    def receive(self) -> tuple[Kind, int, bytes]:
        """The next message: kind, value and payload. Raises ``ConnectionLost`` and ``WireError``."""
        kind, size, value = _HEADER.unpack(self._exactly(_HEADER.size))
        if size > MAX_PAYLOAD:
            raise WireError(f"a payload of {size} bytes")
        try:
            return Kind(kind), value, self._exactly(size)
        except ValueError as error:
            raise WireError(f"a message of kind {kind}") from error

    def expect(self, wanted: Kind) -> tuple[int, bytes]:
        """Value and payload of the next message, which must be ``wanted``."""
        kind, value, payload = self.receive()
        if kind is not wanted:
            raise WireError(f"{kind.name} where {wanted.name} was due")
        return value, payload

    def hang_up(self) -> None:
        """Whoever uses either end learns that it is lost; the descriptor goes with the last reference."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _exactly(self, size: int) -> bytes:
        made = bytearray(size)
        view, got = memoryview(made), 0
        while got < size:
            try:
                count = self._socket.recv_into(view[got:])
            except OSError as error:
                raise ConnectionLost from error
            if not count:
                raise ConnectionLost
            got += count
        return bytes(made)


@dataclass(frozen=True, slots=True)
class Stream:
    """An elementary stream: 4:2:0 frames of ``width`` x ``height``, ``depth`` bits, shown ``turn`` degrees clockwise of how they are
    stored; ``matrix`` and ``full_range`` as in ``colour.Colour``.
    """

    codec: str
    width: int
    height: int
    depth: int
    turn: int
    matrix: int
    full_range: bool

    def encode(self) -> bytes:
        """As a payload."""
        return json.dumps(
            [self.codec, self.width, self.height, self.depth, self.turn, self.matrix, self.full_range]
        ).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Stream:
        """Out of a payload. Raises ``WireError``."""
        try:
            codec, width, height, depth, turn, matrix, full_range = json.loads(payload)
        except (ValueError, TypeError, RecursionError) as error:
            raise WireError("not a stream") from error
        numbers = (width, height, depth, turn, matrix)
        if not isinstance(codec, str) or not all(type(number) is int for number in numbers):
            raise WireError("a stream of other types")
        if not (0 < width <= 16384 and 0 < height <= 16384 and depth in (8, 10, 12) and turn in (0, 90, 180, 270)):
            raise WireError("an impossible stream")
        return cls(codec, width, height, depth, turn, matrix, bool(full_range))


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame that came out: of each tap that wants it the picture's handle, and its thumbnail where repeats are looked for."""

    pts: int
    width: int
    height: int
    pictures: tuple[tuple[int, int, NDArray[np.float32] | None], ...]  # tap, handle, thumbnail


def encode_frames(frames: Sequence[Shown]) -> bytes:
    """The payload of ``FRAMES``."""
    parts = []
    for frame in frames:
        parts.append(_FRAME.pack(frame.pts, frame.width, frame.height, len(frame.pictures)))
        for tap, handle, thumbnail in frame.pictures:
            rows, columns = (0, 0) if thumbnail is None else thumbnail.shape
            parts.append(_PICTURE.pack(tap, rows, columns, handle))
            if thumbnail is not None:
                parts.append(np.ascontiguousarray(thumbnail, np.float32).tobytes())
    return b"".join(parts)


def decode_frames(payload: bytes) -> list[Shown]:
    """The frames of such a payload (of the GPU process, which is trusted)."""
    frames, at = [], 0
    while at < len(payload):
        pts, width, height, count = _FRAME.unpack_from(payload, at)
        at += _FRAME.size
        pictures: list[tuple[int, int, NDArray[np.float32] | None]] = []
        for _ in range(count):
            tap, rows, columns, handle = _PICTURE.unpack_from(payload, at)
            at += _PICTURE.size
            thumbnail = None
            if rows:
                thumbnail = np.frombuffer(payload, np.float32, rows * columns, at).reshape(rows, columns)
                at += rows * columns * 4
            pictures.append((tap, handle, thumbnail))
        frames.append(Shown(pts, width, height, tuple(pictures)))
    return frames


def encode_packet(wanted: int, data: bytes) -> tuple[bytes, bytes]:
    """The parts of ``PACKET``: ``wanted`` has bit *t* set when tap *t* takes its frame."""
    return _WANTED.pack(wanted), data


def decode_packet(payload: bytes) -> tuple[int, bytes]:
    """``wanted`` and the bytes. Raises ``WireError``."""
    if len(payload) < _WANTED.size:
        raise WireError("a packet without a head")
    return _WANTED.unpack_from(payload)[0], payload[_WANTED.size :]


def encode_places(places: Sequence[tuple[int, int]]) -> bytes:
    """The payload of ``FILL``: row and handle each."""
    return b"".join(_PLACE.pack(row, handle) for row, handle in places)


def decode_places(payload: bytes) -> list[tuple[int, int]]:
    """Rows and handles. Raises ``WireError``."""
    return [(row, handle) for row, handle in _whole(_PLACE, payload)]


def encode_handles(handles: Sequence[int]) -> bytes:
    """The payload of ``RUN``."""
    return b"".join(_HANDLE.pack(handle) for handle in handles)


def decode_handles(payload: bytes) -> list[int]:
    """Its handles. Raises ``WireError``."""
    return [handle for (handle,) in _whole(_HANDLE, payload)]


def _whole(layout: struct.Struct, payload: bytes) -> list[tuple[int, ...]]:
    if len(payload) % layout.size:
        raise WireError("a list that ends inside an entry")
    return list(layout.iter_unpack(payload))

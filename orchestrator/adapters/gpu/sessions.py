"""What a decode worker may do on the GPU: decode its streams, and fill its own slots.

One thread serves each connection. Pictures are kept under handles between the two: made by a decoding thread, placed by the one
that fills slots.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.adapters.gpu.colour import Colour
from orchestrator.adapters.gpu.device import Device, HardwareDecoder, Surface
from orchestrator.adapters.gpu.pictures import Geometry, Painter
from orchestrator.adapters.gpu.wire import (
    Connection,
    ConnectionLost,
    Kind,
    Shown,
    Stream,
    WireError,
    decode_handles,
    decode_packet,
    decode_places,
    encode_frames,
)
from orchestrator.core.frames import Tap

MAX_HELD = 1 << 30  # bytes of pictures that a session may keep: many times what its worker's sequencer holds
MAX_WAITING = 64  # surfaces of a stream between two answers: a worker asks after wire.PACKETS packets

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Allowance:
    """What the service grants a session: its taps, the offsets of their slots, and the largest frame."""

    taps: tuple[Tap, ...]
    extents: tuple[tuple[int, ...], ...]
    max_pixels: int


@dataclass(frozen=True)
class _Held:
    picture: Tensor
    made: object  # mark behind its making


class Session:
    """One decode worker's. ``serve`` runs until every connection has been closed."""

    def __init__(self, device: Device, allowance: Allowance, ended: Callable[[], None] = lambda: None) -> None:
        self.device, self.allowance, self._ended = device, allowance, ended
        self._pictures: dict[int, _Held] = {}
        self._handles = count(1)
        self._lock = threading.Lock()
        self._held = 0
        self._connections: list[Connection] = []
        self._serving = 0

    def serve(self, control: Connection, streams: Sequence[Connection]) -> None:
        """Begin to serve the connections, each in a thread of its own."""
        self._connections = [control, *streams]
        self._serving = len(self._connections)
        targets = [lambda: self._fill_slots(control)]
        targets += [lambda each=each: _Decoding(self, each).run() for each in streams]  # type: ignore[misc]
        for run in targets:
            threading.Thread(target=self._guarded, args=(run,), daemon=True).start()

    def close(self) -> None:
        """Hang up; what is being done is finished first."""
        for connection in self._connections:
            connection.hang_up()

    def keep(self, picture: Tensor, made: object) -> int:
        """A handle for a picture. Raises ``WireError`` when the worker hoards them."""
        with self._lock:
            self._held += picture.nbytes
            if self._held > MAX_HELD:
                raise WireError("too many pictures are kept")
            handle = next(self._handles)
            self._pictures[handle] = _Held(picture, made)
            return handle

    def forget(self, handle: int) -> _Held | None:
        """Take a picture out."""
        with self._lock:
            held = self._pictures.pop(handle, None)
            if held is not None:
                self._held -= held.picture.nbytes
            return held

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            with self.device.lane():
                run()
        except ConnectionLost:
            pass
        except Exception as error:  # whatever it was, it concerns this worker alone, which learns that it is lost
            log.exception("gpu.session_failed", error=type(error).__name__)
        self.close()
        with self._lock:
            self._serving -= 1
            over = self._serving == 0
        if over:
            self._pictures.clear()
            self._ended()

    # --- filling slots ---

    def _fill_slots(self, control: Connection) -> None:
        while True:
            place, payload = control.expect(Kind.FILL)
            self.fill(place >> 16, place & 0xFFFF, decode_places(payload))
            control.send(Kind.FILLED)

    def fill(self, number: int, slot: int, places: Sequence[tuple[int, int]]) -> None:
        """Have the pictures in their rows, complete, on the device, and in host memory where the tap asks for that."""
        device, allowance = self.device, self.allowance
        if not 0 <= number < len(allowance.taps) or not slot < len(allowance.extents[number]):
            raise WireError("a slot that is not its own")
        tap = allowance.taps[number]
        rows = _rows(device.memory, allowance.extents[number][slot], tap)
        mirror = _rows(device.mirror, allowance.extents[number][slot], tap)
        held = [(row, self.forget(handle) if handle else None) for row, handle in places]
        device.wait([each.made for _, each in held if each is not None])
        for (row, each), (_, handle) in zip(held, places, strict=True):
            if row >= tap.batch or (handle and each is None):
                raise WireError("a row or a picture that there is not")
            if each is None:
                rows[row].copy_(mirror[row], non_blocking=True)
                continue
            _place(each.picture, rows[row])
            if tap.host:
                mirror[row].copy_(rows[row], non_blocking=True)
        device.synchronize()


class _Decoding:
    """One connection on which a stream is decoded."""

    def __init__(self, session: Session, connection: Connection) -> None:
        self._session, self._connection = session, connection
        self._device = session.device
        self._stream: Stream | None = None
        self._decoder: HardwareDecoder | None = None
        self._painters: dict[tuple[int, int], Painter] = {}
        self._wanted: dict[int, int] = {}
        self._waiting: list[tuple[Surface, int]] = []
        self._faulty = False
        self._faults = 0

    def run(self) -> None:
        """Answer until the worker hangs up."""
        try:
            while True:
                kind, value, payload = self._connection.receive()
                if kind is Kind.OPEN:
                    self._connection.send(Kind.OPENED, int(self._open(Stream.decode(payload))))
                elif kind is Kind.START:
                    self._start(given_up=bool(value))
                elif kind is Kind.PACKET:
                    self._take(value, *decode_packet(payload))
                elif kind is Kind.RESTART:
                    self._drain()
                elif kind is Kind.RUN:
                    for handle in decode_handles(payload):
                        self._session.forget(handle)
                    if value:
                        self._drain()
                    self._answer()
                else:
                    raise WireError(f"{kind.name} is not a worker's to say")
        finally:
            self._drain()
            self._retire(trusted=True)

    def _open(self, stream: Stream) -> bool:
        limit = self._session.allowance.max_pixels
        if stream.width * stream.height > limit or not self._device.decodes(stream):
            return False
        self._drain()
        self._retire(trusted=True)
        self._stream = stream
        return True

    def _start(self, given_up: bool) -> None:
        """Nothing of the unit before may come out in this one; a decoder that failed is not used again."""
        if given_up or self._faulty:
            self._retire(trusted=False)
        else:
            self._drain()
        self._wanted.clear()
        self._waiting.clear()
        self._faulty = False

    def _take(self, pts: int, wanted: int, data: bytes) -> None:
        if self._stream is None:
            raise WireError("a packet of no stream")
        if wanted:
            self._wanted[pts] = wanted
        self._collect(lambda decoder: decoder.decode(data, pts))

    def _drain(self) -> None:
        if self._decoder is not None:
            self._collect(lambda decoder: decoder.drain())

    def _collect(self, ask: Callable[[HardwareDecoder], Sequence[Surface]]) -> None:
        if self._faulty or self._stream is None:
            return  # its worker will decode the unit again
        try:
            if self._decoder is None:
                self._decoder = self._device.decoder(self._stream)
                self._faults = self._decoder.faults
            surfaces = ask(self._decoder)
            if self._decoder.faults > self._faults:
                self._faulty = True  # and which of them is spoilt nobody knows
                return
        except Exception as error:  # the library raises whatever its C++ throws
            log.warning("gpu.decoder_failed", codec=self._stream.codec, error=type(error).__name__, cause=str(error))
            self._faulty = True
            return
        for surface in surfaces:
            wanted = self._wanted.pop(surface.pts, 0)
            if wanted:
                self._waiting.append((surface, wanted))
        if len(self._waiting) > MAX_WAITING:
            raise WireError("frames that nobody asks for")

    def _answer(self) -> None:
        shown: list[Shown] = []
        try:
            for size, group in _by_size(self._waiting).items():
                shown += self._paint(size, group)
        except torch.cuda.OutOfMemoryError:
            log.warning("gpu.out_of_memory", surfaces=len(self._waiting))
            for handle in (handle for frame in shown for _, handle, _ in frame.pictures):
                self._session.forget(handle)
            shown, self._faulty = [], True
        self._waiting.clear()
        shown.sort(key=lambda frame: frame.pts)
        self._connection.send(Kind.FRAMES, int(self._faulty), encode_frames(shown))

    def _paint(self, size: tuple[int, int], group: Sequence[tuple[Surface, int]]) -> list[Shown]:
        """Pictures of frames of one size; by halves where memory is short."""
        try:
            return self._paint_at_once(size, group)
        except torch.cuda.OutOfMemoryError:
            if len(group) == 1:
                raise
        half = len(group) // 2
        return self._paint(size, group[:half]) + self._paint(size, group[half:])

    def _paint_at_once(self, size: tuple[int, int], group: Sequence[tuple[Surface, int]]) -> list[Shown]:
        session, painter = self._session, self._painter(size)
        planes = painter.planes([surface.samples for surface, _ in group])
        made: list[dict[int, tuple[Tensor, NDArray[np.float32] | None]]] = [{} for _ in group]
        for number, tap in enumerate(session.allowance.taps):
            rows = [row for row, (_, wanted) in enumerate(group) if wanted >> number & 1]
            if not rows:
                continue
            pictures = painter.paint(planes, tap.view, rows)
            thumbnails: Sequence[NDArray[np.float32] | None] = (
                list(painter.thumbnails(pictures)) if tap.reuse else [None] * len(rows)
            )
            for row, picture, thumbnail in zip(rows, pictures, thumbnails, strict=True):
                made[row][number] = picture, thumbnail
        mark = self._device.event()
        return [
            Shown(
                surface.pts,
                *size,
                tuple((tap, session.keep(picture, mark), small) for tap, (picture, small) in pictures.items()),
            )
            for (surface, _), pictures in zip(group, made, strict=True)
        ]

    def _painter(self, size: tuple[int, int]) -> Painter:
        stream = self._stream
        assert stream is not None
        if size not in self._painters:
            colour = Colour(stream.matrix, stream.full_range)
            self._painters[size] = Painter(Geometry(*size, stream.turn), colour, self._device.torch_device)
        return self._painters[size]

    def _retire(self, trusted: bool) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is not None and trusted and self._stream is not None and not self._faulty:
            self._device.give_back(self._stream, decoder)


def _by_size(waiting: Sequence[tuple[Surface, int]]) -> Mapping[tuple[int, int], list[tuple[Surface, int]]]:
    groups: dict[tuple[int, int], list[tuple[Surface, int]]] = {}
    for surface, wanted in waiting:
        groups.setdefault((surface.width, surface.height), []).append((surface, wanted))
    return groups


def _rows(memory: Tensor, offset: int, tap: Tap) -> Tensor:
    """A slot as ``[batch, h, w, 3]``."""
    return memory[offset : offset + tap.slot_bytes].view(tap.batch, tap.view.height, tap.view.width, 3)


def _place(picture: Tensor, row: Tensor) -> None:
    """Copy ``picture`` into ``row``, zero around it."""
    height, width = picture.shape[:2]
    if (height, width) != tuple(row.shape[:2]):
        row[height:] = 0
        row[:height, width:] = 0
        row = row[:height, :width]
    row.copy_(picture)

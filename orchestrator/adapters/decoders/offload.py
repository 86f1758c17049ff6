"""The GPU as a decode worker sees it: a codec whose frames stay there, and slots that are filled there.

The worker reads the container, plans, and keeps the order and the ledger, as ever; the GPU process gets elementary streams and row
numbers. What it leaves out or spoils is decoded again here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np

from orchestrator.adapters.decoders.codecs import Picture
from orchestrator.adapters.decoders.elementary import Elementary, NotElementary
from orchestrator.adapters.decoders.scaling import MemoryCanvas
from orchestrator.adapters.gpu import wire
from orchestrator.adapters.gpu.colour import KR_KB
from orchestrator.adapters.gpu.wire import Connection, Kind, Stream
from orchestrator.core.decode_plan import Packet
from orchestrator.core.frames import Tap
from orchestrator.core.perceptual import Likeness, of_thumbnail

_FORMATS = {"yuv420p": 8, "yuvj420p": 8, "nv12": 8, "yuv420p10le": 10, "p010le": 10, "yuv420p12le": 12}
_HD_PIXELS = 1280 * 720
_UNSPECIFIED, _FULL = 2, 2  # AVCOL_SPC_UNSPECIFIED, AVCOL_RANGE_JPEG


def stream_of(codec: str, frame: av.VideoFrame, turn: int) -> Stream | None:
    """What the GPU has to know of a stream whose first frame is ``frame``; ``None`` for what is not decoded there: other than
    progressive 4:2:0 of even size, in colours that ``gpu.colour`` knows.
    """
    depth = _FORMATS.get(frame.format.name)
    matrix = frame.colorspace
    if matrix == _UNSPECIFIED:
        matrix = 1 if frame.width * frame.height >= _HD_PIXELS else 6
    if depth is None or frame.interlaced_frame or frame.width % 2 or frame.height % 2 or matrix not in KR_KB:
        return None
    full = frame.color_range == _FULL or frame.format.name == "yuvj420p"
    return Stream(codec, frame.width, frame.height, depth, turn, int(matrix), full)


class GpuPicture:
    """A picture on the GPU. It is forgotten there once it has been placed, or nobody has it any more."""

    __slots__ = ("_forgotten", "_handle", "nbytes")

    def __init__(self, handle: int, nbytes: int, forgotten: deque[int]) -> None:
        self._handle, self.nbytes, self._forgotten = handle, nbytes, forgotten

    def take(self) -> int:
        """Its handle, for the one place that it goes to."""
        handle, self._handle = self._handle, 0
        return handle

    def __del__(self) -> None:
        if self._handle:
            self._forgotten.append(self._handle)


class GpuFrame:
    """A ``Frame`` that was decoded on the GPU."""

    __slots__ = ("_pictures", "_thumbnails", "height", "pts", "width")
    is_corrupt = False  # what is spoilt is not told of, and so decoded again

    def __init__(self, shown: wire.Shown, taps: Sequence[Tap], forgotten: deque[int]) -> None:
        self.pts, self.width, self.height = shown.pts, shown.width, shown.height
        self._pictures = {
            tap: GpuPicture(handle, taps[tap].view.frame_bytes, forgotten) for tap, handle, _ in shown.pictures
        }
        self._thumbnails = {tap: thumbnail for tap, _, thumbnail in shown.pictures}

    def picture(self, tap: int) -> GpuPicture:
        """See ``Frame``."""
        return self._pictures[tap]

    def likeness(self, tap: int, picture: Picture) -> Likeness:
        """See ``Frame``."""
        thumbnail = self._thumbnails[tap]
        assert thumbnail is not None, "thumbnails are made for taps that reuse"
        return of_thumbnail(thumbnail)


class GpuCodec:
    """A ``Codec`` on the GPU, for one decoding thread. Raises ``ConnectionLost`` when the GPU process has gone."""

    def __init__(
        self,
        connection: Connection,
        elementary: Elementary,
        taps: Sequence[Tap],
        forgotten: deque[int],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection, self._elementary, self._taps = connection, elementary, taps
        self._forgotten, self._alive = forgotten, alive
        self._headers = b""
        self._given_up = False
        self.faulty = False

    def start(self) -> None:
        """See ``Codec.start``."""
        self._connection.send(Kind.START, int(self._given_up))
        self.faulty = self._given_up = False
        self._headers = self._elementary.headers

    def give_up(self) -> None:
        """See ``Codec.give_up``."""
        self._given_up = True

    def decode(self, packets: Sequence[Packet], last: bool, awaited: Callable[[], bool]) -> Iterator[GpuFrame]:
        """See ``Codec.decode``. One round trip for each ``wire.PACKETS`` of them."""
        pieces = [packets[at : at + wire.PACKETS] for at in range(0, len(packets), wire.PACKETS)] or [()]
        for number, piece in enumerate(pieces):
            for packet in piece:
                if packet.restart:
                    self._connection.send(Kind.RESTART)
                    self._headers = self._elementary.headers
                self._send(packet)
                self._alive()
            yield from self._taken(last and number == len(pieces) - 1)

    def _taken(self, last: bool) -> Iterator[GpuFrame]:
        forgotten = [self._forgotten.popleft() for _ in range(len(self._forgotten))]
        self._connection.send(Kind.RUN, int(last), wire.encode_handles(forgotten))
        faulty, payload = self._connection.expect(Kind.FRAMES)
        self.faulty = self.faulty or bool(faulty)
        for shown in wire.decode_frames(payload):
            yield GpuFrame(shown, self._taps, self._forgotten)

    def _send(self, packet: Packet) -> None:
        payload = packet.payload
        assert isinstance(payload, av.Packet)
        try:
            data = self._elementary.packet(bytes(payload))
        except NotElementary:
            self.faulty = True
            return
        self._connection.send(Kind.PACKET, packet.pts, *wire.encode_packet(packet.wanted, self._headers + data))
        self._headers = b""


class GpuCanvas:
    """A ``Canvas`` over a slot on the GPU. Pictures made here go there through its mirror in host memory."""

    def __init__(self, control: Connection, tap: int, slot: int, mirror: MemoryCanvas) -> None:
        self._control, self._place, self._mirror = control, tap << 16 | slot, mirror
        self._rows: list[tuple[int, int]] = []

    def put(self, row: int, picture: object) -> None:
        """See ``Canvas``."""
        if isinstance(picture, np.ndarray):
            self._mirror.put(row, picture)
            self._rows.append((row, 0))
        else:
            assert isinstance(picture, GpuPicture)
            self._rows.append((row, picture.take()))

    def commit(self) -> None:
        """See ``Canvas``."""
        rows, self._rows = self._rows, []
        self._control.send(Kind.FILL, self._place, wire.encode_places(rows))
        self._control.expect(Kind.FILLED)


class Offload:
    """A worker's connections: ``control`` fills slots, and each of its decoding threads has one of ``streams``."""

    def __init__(self, control: Connection, streams: Sequence[Connection]) -> None:
        self._control, self._streams = control, streams
        self._forgotten: deque[int] = deque()

    def canvases(self, mirrors: Sequence[Sequence[MemoryCanvas]]) -> list[list[GpuCanvas]]:
        """The slots of every tap."""
        return [
            [GpuCanvas(self._control, tap, slot, mirror) for slot, mirror in enumerate(each)]
            for tap, each in enumerate(mirrors)
        ]

    def codecs(
        self, stream: Stream, extradata: bytes | None, taps: Sequence[Tap], alive: Callable[[], None]
    ) -> list[GpuCodec]:
        """A codec for each thread; none where the GPU does not decode such a stream."""
        try:
            elementary = Elementary.of(stream.codec, extradata)
        except NotElementary:
            return []
        for connection in self._streams:
            connection.send(Kind.OPEN, 0, stream.encode())
        answers = [connection.expect(Kind.OPENED)[0] for connection in self._streams]
        if not all(answers):
            return []
        return [GpuCodec(each, elementary, taps, self._forgotten, alive) for each in self._streams]

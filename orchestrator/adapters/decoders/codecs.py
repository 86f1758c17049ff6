"""What turns the packets of a unit into frames, and the one that does it on the CPU.

A codec serves one thread. Frames come in display order, each once, and whatever else comes out is ignored by who asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import av
from av.video.codeccontext import VideoCodecContext

from orchestrator.adapters.decoders.container import MEDIA_ERRORS
from orchestrator.adapters.decoders.scaling import Pixels, Scaler, clockwise
from orchestrator.core.decode_plan import Packet
from orchestrator.core.frames import Tap
from orchestrator.core.perceptual import Likeness, likeness


class Picture(Protocol):
    """A frame as one tap wants it, wherever its pixels are."""

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        ...


class Frame(Protocol):
    """A decoded frame."""

    @property
    def pts(self) -> int | None: ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def is_corrupt(self) -> bool: ...

    def picture(self, tap: int) -> Picture:
        """The frame as tap number ``tap`` wants it. Raises one of ``MEDIA_ERRORS`` where that cannot be made."""
        ...

    def likeness(self, tap: int, picture: Picture) -> Likeness:
        """The likeness of that picture."""
        ...


class Codec(Protocol):
    """Decodes units one after the other."""

    faulty: bool
    """Whether something of this unit could not be decoded."""

    def start(self) -> None:
        """A unit begins."""
        ...

    def give_up(self) -> None:
        """It left out or spoilt a frame of this unit, and is not asked for the rest."""
        ...

    def decode(self, packets: Sequence[Packet], last: bool, awaited: Callable[[], bool]) -> Iterator[Frame]:
        """The frames that come out once the unit's next ``packets`` have gone in, and with ``last`` all the others too, if
        any is ``awaited()``.
        """
        ...


class CpuFrame:
    """A frame of libavcodec."""

    __slots__ = ("_codec", "_frame", "height", "is_corrupt", "pts", "width")

    def __init__(self, codec: CpuCodec, frame: av.VideoFrame) -> None:
        self._codec, self._frame = codec, frame
        self.pts, self.width, self.height, self.is_corrupt = frame.pts, frame.width, frame.height, frame.is_corrupt

    def picture(self, tap: int) -> Pixels:
        """RGB ``[h, w, 3]``, memory of its own; see ``Frame``."""
        return self._codec.scale(tap, self._frame)

    def likeness(self, tap: int, picture: Picture) -> Likeness:
        """See ``Frame``."""
        return likeness(picture)  # type: ignore[arg-type]  # it is one of ours


class CpuCodec:
    """libavcodec, in this thread. ``skips`` allows to leave out non-reference pictures that nobody wants; ``alive`` is called
    between packets.
    """

    def __init__(
        self, context: VideoCodecContext, taps: Sequence[Tap], skips: bool, alive: Callable[[], None] = lambda: None
    ) -> None:
        self._context, self._skips, self._alive = context, skips, alive
        self._scalers = [Scaler(tap.view) for tap in taps]
        self._skipping = self.faulty = False
        self._turn: int | None = None

    def start(self) -> None:
        """See ``Codec.start``."""
        self.faulty, self._turn = False, None
        self._context.flush_buffers()

    def give_up(self) -> None:
        """See ``Codec.give_up``: what it holds is flushed when the next unit starts."""

    def decode(self, packets: Sequence[Packet], last: bool, awaited: Callable[[], bool]) -> Iterator[CpuFrame]:
        """See ``Codec.decode``."""
        for packet in packets:
            if packet.restart:
                yield from self._drain(awaited)
            self._skip(self._skips and not packet.wanted and packet.shown)
            payload = packet.payload
            assert isinstance(payload, av.Packet)
            yield from self._frames(payload)
            self._alive()
        if last:
            yield from self._drain(awaited)

    def scale(self, tap: int, frame: av.VideoFrame) -> Pixels:
        """``frame`` as the tap wants it, upright as the unit's first was turned."""
        if self._turn is None:
            self._turn = clockwise(frame)
        return self._scalers[tap].scale(frame, self._turn)

    def _drain(self, awaited: Callable[[], bool]) -> Iterator[CpuFrame]:
        if awaited():
            yield from self._frames(None)
        self._context.flush_buffers()

    def _frames(self, payload: av.Packet[av.VideoStream] | None) -> Iterator[CpuFrame]:
        try:
            frames = self._context.decode(payload)
        except MEDIA_ERRORS:
            self.faulty = True
            return
        for frame in frames:
            yield CpuFrame(self, frame)

    def _skip(self, skip: bool) -> None:
        if skip is not self._skipping:
            self._context.skip_frame = "NONREF" if skip else "DEFAULT"
            self._skipping = skip

"""Decoding one unit: packets in, outcomes (frames, missing frames, progress) out, in display order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import av
from av.video.codeccontext import VideoCodecContext

from orchestrator.adapters.decoders.container import MEDIA_ERRORS, check_pixels
from orchestrator.adapters.decoders.scaling import Picture, Scaler, clockwise
from orchestrator.adapters.decoders.sequencer import Missing, Outcome, Progress, Shown, Source
from orchestrator.core.decode_plan import Feed, Packet
from orchestrator.core.frames import Tap
from orchestrator.core.media import DecodeLimits
from orchestrator.core.perceptual import Likeness, likeness
from orchestrator.errors import DecodeBudget


class UnitDecoder:
    """Decodes units one after the other with one codec context (one thread).

    ``skips`` allows to leave out non-reference pictures that nobody wants. ``deliver[t]``: first index that tap ``t`` still needs;
    ``lent[t]``: the last frame of which it has the picture.
    """

    def __init__(
        self,
        context: VideoCodecContext,
        taps: Sequence[Tap],
        deliver: Sequence[int],
        lent: Sequence[int],
        limits: DecodeLimits,
        skips: bool,
        alive: Callable[[], None],
    ) -> None:
        self._context, self._taps, self._limits, self._skips = context, taps, limits, skips
        self._deliver, self._lent = deliver, lent
        self._alive = alive
        self._scalers = [Scaler(tap.view) for tap in taps]
        self._skipping = False
        self._put: Callable[[Outcome], None] = lambda outcome: None
        self._begin(self._put)

    def _begin(self, put: Callable[[Outcome], None]) -> None:
        self._put = put
        self._expected: dict[int, tuple[int, int]] = {}  # pts -> index, wanted
        self._order: deque[tuple[int, int]] = deque()  # index, pts of frames that have not come out, rising
        self._kept: dict[int, tuple[Likeness, int]] = {}  # tap -> last picture that was not a repeat
        self._sources: dict[int, Source] = {}  # tap -> that picture, where it lies before the first that is needed
        self._faulty = False
        self._turn: int | None = None

    def start(self, put: Callable[[Outcome], None]) -> None:
        """Begin a unit whose outcomes go to ``put``."""
        self._begin(put)
        self._context.flush_buffers()

    def feed(self, feed: Feed) -> None:
        """Decode a piece. Raises ``MediaTooLarge`` and ``DecodeBudget``."""
        for index, pts, wanted in sorted(
            (p.index, p.pts, p.wanted) for p in feed.packets if p.wanted and p.index is not None
        ):
            self._expected[pts] = index, wanted
            self._order.append((index, pts))
        for packet in feed.packets:
            self._decode(packet)
            self._alive()
        if feed.last:
            self._drain()
            for index, pts in self._order:
                self._put(Missing(index, pts, self._faulty))
            self._order.clear()
        self._put(Progress(self._order[0][0] if self._order else feed.through))
        if time.process_time() > self._limits.max_decode_seconds:
            raise DecodeBudget(
                "decoding took more CPU time than its budget", seconds=int(self._limits.max_decode_seconds)
            )

    def _decode(self, packet: Packet) -> None:
        if packet.restart:
            self._drain()
        skip = self._skips and not packet.wanted and packet.shown
        if skip is not self._skipping:
            self._context.skip_frame = "NONREF" if skip else "DEFAULT"
            self._skipping = skip
        payload = packet.payload
        assert isinstance(payload, av.Packet)
        try:
            frames = self._context.decode(payload)
        except MEDIA_ERRORS:
            self._faulty = True
            return
        for frame in frames:
            self._handle(frame)

    def _drain(self) -> None:
        if self._order:
            try:
                frames = self._context.decode(None)
            except MEDIA_ERRORS:
                self._faulty, frames = True, []
            for frame in frames:
                self._handle(frame)
        self._context.flush_buffers()

    def _handle(self, frame: av.VideoFrame) -> None:
        check_pixels(frame, self._limits.max_pixels)
        pts = frame.pts
        found = None if pts is None else self._expected.pop(pts, None)
        if found is None or pts is None:
            return
        index, wanted = found
        while self._order and self._order[0][0] < index:  # display order: these cannot come any more
            earlier, earlier_pts = self._order.popleft()
            self._expected.pop(earlier_pts, None)
            self._put(Missing(earlier, earlier_pts, self._faulty))
        self._order.popleft()
        self._put(self._show(frame, index, pts, wanted))

    def _show(self, frame: av.VideoFrame, index: int, pts: int, wanted: int) -> Outcome:
        if frame.is_corrupt:
            return Missing(index, pts, corrupt=True)
        if self._turn is None:
            self._turn = clockwise(frame)
        pictures: list[tuple[int, Picture | None, int]] = []
        sources: list[Source] = []
        repeated = False
        try:
            for number, tap in enumerate(self._taps):
                early = index < self._deliver[number]
                if not wanted >> number & 1 or (early and not tap.reuse):
                    continue
                picture = self._scalers[number].scale(frame, self._turn)
                same_as = self._repeats(number, picture, index) if tap.reuse else -1
                repeated = repeated or same_as >= 0
                if early:
                    if same_as < 0 and index > self._lent[number]:
                        self._sources[number] = Source(number, index, pts, picture)
                    continue
                source = self._sources.pop(number, None)
                if source is not None and source.index == same_as:
                    sources.append(source)
                pictures.append((number, picture if same_as < 0 else None, same_as))
        except MEDIA_ERRORS:
            return Missing(index, pts, corrupt=True)
        nbytes = sum(picture.nbytes for _, picture, _ in pictures if picture is not None)
        nbytes += sum(source.picture.nbytes for source in sources)
        return Shown(index, pts, tuple(pictures), repeated, tuple(sources), nbytes)

    def _repeats(self, tap: int, picture: Picture, index: int) -> int:
        """The frame whose answer ``picture`` may borrow, or -1."""
        now = likeness(picture)
        kept = self._kept.get(tap)
        if kept is not None and now.same(kept[0]):
            return kept[1]
        self._kept[tap] = now, index
        return -1

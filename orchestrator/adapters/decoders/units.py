"""Decoding one unit: packets in, outcomes (frames, missing frames, progress) out, in display order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from orchestrator.adapters.decoders.codecs import Codec, Frame, Picture
from orchestrator.adapters.decoders.container import MEDIA_ERRORS, check_pixels
from orchestrator.adapters.decoders.sequencer import Missing, Outcome, Progress, Shown, Source
from orchestrator.core.decode_plan import Feed, Packet
from orchestrator.core.frames import Tap
from orchestrator.core.media import DecodeLimits
from orchestrator.core.perceptual import Likeness
from orchestrator.errors import DecodeBudget

MAX_KEPT = 64 << 20  # bytes of a unit that are kept for its rescue


class UnitDecoder:
    """Decodes units one after the other with one codec (one thread).

    ``deliver[t]``: first index that tap ``t`` still needs; ``lent[t]``: the last frame of which it has the picture. ``rescue``: a
    codec that decodes a unit again when ``codec`` leaves out or spoils a frame of it.
    """

    def __init__(
        self,
        codec: Codec,
        taps: Sequence[Tap],
        deliver: Sequence[int],
        lent: Sequence[int],
        limits: DecodeLimits,
        rescue: Codec | None = None,
    ) -> None:
        self._codec, self._rescue, self._taps, self._limits = codec, rescue, taps, limits
        self._deliver, self._lent = deliver, lent
        self._begin(lambda outcome: None)

    def _begin(self, put: Callable[[Outcome], None]) -> None:
        self._put = put
        self._expected: dict[int, tuple[int, int]] = {}  # pts -> index, wanted
        self._order: deque[tuple[int, int]] = deque()  # index, pts of frames that have not come out, rising
        self._kept: dict[int, tuple[Likeness, int]] = {}  # tap -> last picture that was not a repeat
        self._sources: dict[int, Source] = {}  # tap -> that picture, where it lies before the first that is needed
        self._active = self._codec
        self._fed: list[Packet] | None = None if self._rescue is None else []
        self._fed_bytes = 0

    def start(self, put: Callable[[Outcome], None]) -> None:
        """Begin a unit whose outcomes go to ``put``."""
        self._begin(put)
        self._codec.start()

    def feed(self, feed: Feed) -> None:
        """Decode a piece. Raises ``MediaTooLarge`` and ``DecodeBudget``."""
        for index, pts, wanted in sorted(
            (p.index, p.pts, p.wanted) for p in feed.packets if p.wanted and p.index is not None
        ):
            self._expected[pts] = index, wanted
            self._order.append((index, pts))
        self._keep(feed.packets)
        if not self._decode(feed.packets, feed.last):
            assert self._fed is not None
            assert self._rescue is not None
            self._codec.give_up()
            self._active, again, self._fed = self._rescue, self._fed, None
            self._active.start()
            self._decode(again, feed.last)
        if feed.last:
            for index, pts in self._order:
                self._put(Missing(index, pts, self._active.faulty))
            self._order.clear()
        self._put(Progress(self._order[0][0] if self._order else feed.through))
        if time.process_time() > self._limits.max_decode_seconds:
            raise DecodeBudget(
                "decoding took more CPU time than its budget", seconds=int(self._limits.max_decode_seconds)
            )

    def _keep(self, packets: Sequence[Packet]) -> None:
        if self._fed is not None:
            self._fed.extend(packets)
            self._fed_bytes += sum(packet.size for packet in packets)
            if self._fed_bytes > MAX_KEPT:
                self._fed = None

    def _decode(self, packets: Sequence[Packet], last: bool) -> bool:
        """Show what comes out; ``False`` as soon as a frame is missing that could be rescued."""
        for frame in self._active.decode(packets, last, lambda: bool(self._order)):
            check_pixels(frame, self._limits.max_pixels)
            pts = frame.pts
            found = None if pts is None else self._expected.get(pts)
            if found is None or pts is None:
                continue
            index, wanted = found
            if self._fed is not None and (frame.is_corrupt or self._order[0][0] < index):
                return False
            del self._expected[pts]
            while self._order and self._order[0][0] < index:  # display order: these cannot come any more
                earlier, earlier_pts = self._order.popleft()
                self._expected.pop(earlier_pts, None)
                self._put(Missing(earlier, earlier_pts, self._active.faulty))
            self._order.popleft()
            self._put(self._show(frame, index, pts, wanted))
        return not (last and self._order and self._fed is not None)

    def _show(self, frame: Frame, index: int, pts: int, wanted: int) -> Outcome:
        if frame.is_corrupt:
            return Missing(index, pts, corrupt=True)
        pictures: list[tuple[int, Picture | None, int]] = []
        sources: list[Source] = []
        repeated = False
        try:
            for number, tap in enumerate(self._taps):
                early = index < self._deliver[number]
                if not wanted >> number & 1 or (early and not tap.reuse):
                    continue
                picture = frame.picture(number)
                same_as = self._repeats(number, frame.likeness(number, picture), index) if tap.reuse else -1
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
        rescued = self._active is not self._codec
        return Shown(index, pts, tuple(pictures), repeated, tuple(sources), nbytes, rescued)

    def _repeats(self, tap: int, now: Likeness, index: int) -> int:
        """The frame whose answer the picture may borrow, or -1."""
        kept = self._kept.get(tap)
        if kept is not None and now.same(kept[0]):
            return kept[1]
        self._kept[tap] = now, index
        return -1

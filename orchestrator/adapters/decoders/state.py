"""What a session knows of its media, whichever worker told it; every claim of a worker is checked here.

The state is also what a new worker needs to go on where a dead one stopped, be it one of this session or of an earlier one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from orchestrator.adapters.decoders.job import Resume
from orchestrator.adapters.decoders.sequencer import LEDGER, ROWS_PER_BATCH
from orchestrator.adapters.decoders.slots import TapSlots
from orchestrator.adapters.decoders.wire import Message, ProtocolError
from orchestrator.core.decode_plan import Ticker
from orchestrator.core.frames import FrameBatch, FrameRow, Tap
from orchestrator.core.media import Ledger, LedgerMark, MediaInfo
from orchestrator.ports import DecodeEvent, DecodeFinished, DecodeStart, MediaOpened, TapAdvanced, TimelineGrew

_MOST = 1 << 40  # frames
DECODERS = CPU, GPU = "cpu", "nvdec"  # what decodes, as results name it


class SessionState:
    """Turns worker messages into events. Raises ``ProtocolError`` for what cannot be true."""

    def __init__(self, taps: tuple[Tap, ...], slots: TapSlots, start: DecodeStart | None = None) -> None:
        self._taps, self._slots = taps, slots
        start = start or DecodeStart((0,) * len(taps))
        self.media: MediaInfo | None = None
        self.pts = array("q")
        self.through = list(start.first)
        self.delivered = start.mark.ledger.decoded > 0
        self._kept = [-1] * len(taps)
        self._mark = start.mark
        self._final: Ledger | None = None

    @property
    def progress(self) -> tuple[int, ...]:
        """Grows with every frame delivered."""
        return tuple(self.through)

    @property
    def ledger(self) -> Ledger:
        """The ledger so far."""
        return self._final or self._mark.ledger

    @property
    def mark(self) -> LedgerMark:
        """The account of the frames counted so far, without what only the end of the media tells."""
        return self._mark

    @property
    def resume(self) -> Resume:
        """Where another worker has to go on."""
        mark = self._mark
        counts = tuple(getattr(mark.ledger, name) for name in LEDGER)
        return Resume(tuple(self.through), tuple(self._kept), len(self.pts), mark.counted, counts, mark.first_bad_pts)

    def accept(self, message: Message) -> Iterator[DecodeEvent]:
        """The events that a message means."""
        if message.kind == "opened":
            yield from self._opened(message)
        elif self.media is None:
            raise ProtocolError(f"{message.kind} before the media was opened")
        elif message.kind == "timeline":
            yield self._timeline(message)
        elif message.kind == "batch":
            yield self._batch(message)
        elif message.kind == "advanced":
            yield from self._advanced(message)
        elif message.kind == "finished":
            yield from self._finished(message)
        else:
            raise ProtocolError("unknown message")

    def give_up(self, fault: str) -> Iterator[DecodeEvent]:
        """End a session whose workers keep dying: what is known of the timeline but was not delivered counts as dropped.

        Only a session that has delivered something, and knows the timeline as far as frames were counted, can be ended
        like this (``partly_known``).
        """
        lost = sum(self._sampled(index) for index in range(self._mark.counted, len(self.pts)))
        ledger = self.ledger
        first_bad = min(self.through)
        end = self.pts[-1] + max(1, self.pts[-1] - self.pts[-2] if len(self.pts) > 1 else 1)
        final = replace(
            ledger,
            source=len(self.pts),
            expected=ledger.expected + lost,
            dropped=ledger.dropped + lost,
            skipped=len(self.pts) - ledger.expected - lost,
        )
        self._final = final
        for tap, through in zip(self._taps, self.through, strict=True):
            if through < len(self.pts):
                yield TapAdvanced(tap, len(self.pts))
        bad = self.pts[first_bad] if first_bad < len(self.pts) else end
        known = self._mark.first_bad_pts
        yield DecodeFinished(final, end, True, bad if known is None else min(bad, known), fault)

    @property
    def partly_known(self) -> bool:
        """Whether there is a part of the media to report on."""
        return self.delivered and len(self.pts) >= max(1, self._mark.counted)

    def _sampled(self, index: int) -> bool:
        if self.media is None:
            return False
        start, base = self.pts[0], self.media.time_base
        for tap in self._taps:
            if tap.sampling.keyframes:
                continue  # which frames these are went with the worker
            ticker = Ticker(tap.sampling, start, base)
            if index:
                ticker.takes(self.pts[index - 1])
            if ticker.takes(self.pts[index]):
                return True
        return False

    def _opened(self, message: Message) -> Iterator[DecodeEvent]:
        width, height, turn, numerator, denominator, depth = message.integers("facts", 6, 0, 1 << 31)
        rate = message.integers("rate", 2, 0, 1 << 62)
        if (
            not (width and height and numerator and denominator)
            or turn not in (0, 90, 180, 270)
            or not 1 <= depth <= 32
        ):
            raise ProtocolError("impossible facts")
        decoder = message.word("decoder")
        if decoder not in DECODERS:
            raise ProtocolError("an unknown decoder")
        media = MediaInfo(
            container=message.word("container"),
            codec=message.word("codec"),
            width=width,
            height=height,
            rotation=turn,
            time_base=Fraction(numerator, denominator),
            start_pts=message.integer("start"),
            duration_ns=message.optional("duration_ns", 0),
            average_rate=Fraction(*rate) if all(rate) else None,
            bit_depth=depth,
        )
        if self.media is None:  # else a later worker says it again
            self.media = media
            yield MediaOpened(media, decoder)

    def _timeline(self, message: Message) -> TimelineGrew:
        first = message.integer("first", len(self.pts), len(self.pts))
        pts = message.integers("pts")
        last = self.pts[-1] if self.pts else None
        for value in pts:
            if last is not None and value <= last:
                raise ProtocolError("pts do not rise")
            last = value
        self.pts.extend(pts)
        return TimelineGrew(first, pts)

    def _batch(self, message: Message) -> FrameBatch:
        number = message.integer("tap", 0, len(self._taps) - 1)
        tap = self._taps[number]
        rows: list[FrameRow] = []
        # Before its first picture a tap may get one from before its start, which others repeat.
        used, kept = 0, self._kept[number]
        below = self.through[number] if kept >= 0 or not tap.reuse else 0
        for index, pts, row, same_as in message.rows("rows", 4, ROWS_PER_BATCH * tap.batch):
            if not below <= index < len(self.pts) or self.pts[index] != pts:
                raise ProtocolError("a frame out of place")
            if row >= 0:
                if row != used or row >= tap.batch or same_as != -1:
                    raise ProtocolError("a row out of place")
                used, kept = used + 1, index
                rows.append(FrameRow(index, pts, row))
            else:
                if row != -1 or same_as != kept or kept < 0:
                    raise ProtocolError("a frame that repeats none")
                rows.append(FrameRow(index, pts, None, same_as))
            below = max(index + 1, self.through[number])
        through = message.integer("through", below, len(self.pts))
        slot = message.integer("slot", -1)
        if not rows or (slot < 0) != (used == 0) or (slot >= 0 and not self._slots.may_lend(number, slot)):
            raise ProtocolError("a batch without frames, or in a slot that is not its own")
        self._count(message)
        self.through[number], self._kept[number], self.delivered = through, kept, True
        return FrameBatch(tap, tuple(rows), through, self._slots.lend(number, slot) if slot >= 0 else None)

    def _advanced(self, message: Message) -> Iterator[DecodeEvent]:
        reached = message.integers("through", len(self._taps), 0)
        if any(through > max(known, len(self.pts)) for through, known in zip(reached, self.through, strict=True)):
            raise ProtocolError("frames that are not known")
        self._count(message)
        for number, through in enumerate(reached):
            if through > self.through[number]:
                self.through[number] = through
                yield TapAdvanced(self._taps[number], through)

    def _finished(self, message: Message) -> Iterator[DecodeEvent]:
        if not self.pts:
            raise ProtocolError("finished without a frame")
        message.integer("frames", len(self.pts), len(self.pts))
        end = message.integer("end", self.pts[-1] + 1)
        partial = bool(message.integer("partial", 0, 1))
        final, bad = self._ledger_of(message, "final"), message.optional("first_bad")
        self._count(message)
        self._final = final
        for number, through in enumerate(self.through):
            if through < len(self.pts):
                self.through[number] = len(self.pts)
                yield TapAdvanced(self._taps[number], len(self.pts))
        yield DecodeFinished(final, end, partial, bad if partial else None, "MEDIA_UNREADABLE" if partial else None)

    def _count(self, message: Message) -> None:
        counted = message.integer("counted", 0, max(len(self.pts), self._mark.counted))
        self._mark = LedgerMark(counted, self._ledger_of(message, "ledger"), message.optional("bad"))

    def _ledger_of(self, message: Message, name: str) -> Ledger:
        ledger = Ledger(**dict(zip(LEDGER, message.integers(name, len(LEDGER), 0, _MOST), strict=True)))
        if ledger.expected != ledger.decoded + ledger.corrupt + ledger.dropped:
            raise ProtocolError("a ledger that does not add up")
        return ledger

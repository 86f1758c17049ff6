"""What to decode, decided from packet headers alone: pure, incremental, and independent of where an earlier run
stopped.

Packets come in decode order. The planner numbers the displayed frames in pts order from 0, asks every tap's sampling
which of them it takes,
and cuts the stream into *units* at keyframes, each decodable by itself and thus in parallel with the others:

* A frame is *settled* (its index is final) when no packet still to come can be shown before it: its pts is not above
the current dts.
* A unit ends at the first keyframe after ``MIN_UNIT`` packets. Leading pictures of that keyframe (shown before it, so
they need the old GOP too)
  still belong to the old unit, which decodes the keyframe a second time for them.
* Packets are fed in pieces (``Feed``), so that a long GOP neither waits for its end nor piles up.
* What no wanted frame needs is never fed: whole GOPs, and what follows the last wanted frame of one.
* A plan may begin in the middle: nothing before the unit that holds frame ``begin`` is wanted; from this unit's first
  frame on everything is decided as in a plan that began at frame 0. So what is decoded, and with it every pixel, near-duplicate and
  missing frame, is the same.

Frames before the first keyframe, its leading pictures, packets that an edit list discards, and packets that show
nothing are not displayed.
A frame whose pts does not rise (a duplicate, or a clock that jumped back) is counted as ``late``, never silently lost.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from orchestrator.core.sampling import Sampling

MIN_UNIT = 8  # packets; intra-only streams would otherwise cost a unit per frame
PIECE = 16  # packets between two looks at what can be fed
HOLD = 512  # unwanted packets kept because a later frame of their GOP may need them, before they are decoded anyway
HOLD_BYTES = 32 << 20  # the same for packets of a unit that may turn out to hold frame ``begin``
REORDER = 16  # deepest reordering of any allowed codec: settles frames where dts is missing or wrong


class Packet:
    """A packet of the stream in decode order (mutable and slotted: one is made per packet).

    ``index`` is the frame's place in display order (``None`` when not displayed, -1 until settled); ``wanted`` has
    bit *t* set when tap *t*
    takes the frame; ``restart`` asks to drain and flush the decoder first. ``size``: bytes of the payload.
    """

    __slots__ = ("dts", "index", "key", "payload", "pts", "restart", "shown", "size", "taken", "wanted")

    def __init__(
        self, payload: object, pts: int | None, dts: int | None, key: bool, shown: bool = True, size: int = 0
    ) -> None:
        self.payload, self.dts, self.key, self.shown, self.size = payload, dts, key, shown, size
        self.pts = _UNKNOWN if pts is None else pts
        self.index: int | None = -1 if shown else None
        self.wanted = self.taken = 0  # taken: what wanted would be if the plan began at frame 0
        self.restart = False


_UNKNOWN = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Feed:
    """Packets to decode, in order, as the next piece of unit ``unit``.

    When it has been decoded every wanted frame with an index below ``through`` has come out; ``last`` pieces end
    their unit.
    """

    unit: int
    packets: tuple[Packet, ...]
    through: int
    last: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What one packet settled: the pts of the next frames from ``first_index``, then feeds in unit order."""

    first_index: int
    pts: tuple[int, ...]
    feeds: tuple[Feed, ...]


class Ticker:
    """``Sampling.takes`` over rising pts (of keyframes, if it is for them), as one integer comparison per frame."""

    def __init__(self, sampling: Sampling, start_pts: int, time_base: Fraction) -> None:
        self.keyframes = sampling.keyframes
        self._start = start_pts
        self._next = start_pts
        self._scale: tuple[int, int] | None = None
        if sampling.fps is not None:
            per_unit = sampling.fps * time_base
            self._scale = per_unit.numerator, per_unit.denominator

    def takes(self, pts: int) -> bool:
        """Whether the frame at ``pts`` (above every pts asked before) answers a tick."""
        if self._scale is None:
            return True
        if pts < self._next:
            return False
        ticks, per = self._scale
        answered = (pts - self._start) * ticks // per + 1
        self._next = self._start - (-answered * per // ticks)
        return True


class _Unit:
    __slots__ = ("begun", "number", "packets", "pending")

    def __init__(self, number: int, begun: bool) -> None:
        self.number, self.begun = number, begun
        self.pending: list[Packet] = []
        self.packets = 0

    def begin(self) -> None:
        """Want what its samplings take, from its first frame on."""
        self.begun = True
        for packet in self.pending:
            packet.wanted = packet.taken


class Planner:
    """Plans one media. No frame below ``begin`` is needed any more."""

    def __init__(
        self,
        samplings: Sequence[Sampling],
        time_base: Fraction,
        step: int = 1,
        begin: int = 0,
    ) -> None:
        self._samplings, self._time_base, self._step = tuple(samplings), time_base, max(1, step)
        self._begin, self._begun = begin, begin <= 0
        self._tickers: list[Ticker] = []
        self._heap: list[tuple[int, int, Packet]] = []
        self._unit: _Unit | None = None
        self._closing: _Unit | None = None
        self._boundary: Packet | None = None
        self._repeated = False
        self._origin = self._last_read = 0
        self._trust_dts = True
        self._grown: list[int] = []
        self._feeds: list[Feed] = []
        self.last_pts: int | None = None
        self.frames = self.late = self.not_shown = self.packets = 0
        self.first_late_pts: int | None = None

    def add(self, packet: Packet) -> Step | None:
        """Take the next packet; returns what it settled, if anything."""
        number, self.packets = self.packets, self.packets + 1
        if packet.pts == _UNKNOWN:
            packet.pts = packet.dts if packet.dts is not None else self._last_read + self._step
        self._last_read = packet.pts
        if packet.dts is not None and packet.pts < packet.dts:
            self._trust_dts = False
        unit = self._place(packet)
        if unit is None:
            self.not_shown += 1
            return None
        unit.pending.append(packet)
        unit.packets += 1
        if packet.shown:
            heapq.heappush(self._heap, (packet.pts, number, packet))
        else:
            self.not_shown += 1
        bound = self._bound(packet)
        if bound is not None:
            self._advance(bound)
        if self._unit is not None and self._closing is None and self._unit.packets % PIECE == 0:
            self._feed(self._unit)
        return self._step_out() if self._feeds or len(self._grown) >= 256 else None

    def flush(self) -> Step | None:
        """Feed all that is settled: no packet will come for a while."""
        unit = self._closing or self._unit
        if unit is not None:
            self._feed(unit, eager=True)
        return self._step_out()

    def finish(self) -> Step | None:
        """The source has ended: settle and feed the rest."""
        if self._heap:
            self._advance(max(self._heap)[0])
        if self._closing is not None:
            self._close(self._closing)
        if self._unit is not None:
            self._close(self._unit)
        self._closing = self._unit = None
        return self._step_out()

    # --- units ---

    def _place(self, packet: Packet) -> _Unit | None:
        """The unit that decodes ``packet``; ``None`` when nothing can."""
        if self._unit is None:
            if not packet.key:
                return None
            self._unit, self._origin = _Unit(0, self._begun), packet.pts
        elif packet.key and self._closing is None and self._unit.packets >= MIN_UNIT:
            self._closing, self._boundary, self._repeated = self._unit, packet, False
            self._unit = _Unit(self._closing.number + 1, self._begun)
        elif self._closing is not None and self._boundary is not None and packet.pts < self._boundary.pts:
            if not packet.shown:
                return None
            if not self._repeated:
                again = Packet(self._boundary.payload, self._boundary.pts, None, key=True, shown=False)
                self._closing.pending.append(again)
                self._repeated = True
            return self._closing
        elif packet.pts < self._origin and self._unit.number == 0 and self._closing is None and packet.shown:
            return None
        return self._unit

    def _bound(self, packet: Packet) -> int | None:
        if self._trust_dts and packet.dts is not None:
            return packet.dts
        if len(self._heap) <= REORDER:
            return None
        return heapq.nsmallest(len(self._heap) - REORDER, self._heap)[-1][0]

    def _advance(self, bound: int) -> None:
        if self._closing is not None and self._boundary is not None and bound >= self._boundary.pts:
            self._settle(self._boundary.pts - 1)
            self._close(self._closing)
            self._closing = self._boundary = None
        self._settle(bound)

    def _settle(self, bound: int) -> None:
        heap = self._heap
        unit = self._closing or self._unit  # units follow each other in display order too
        assert unit is not None
        while heap and heap[0][0] <= bound:
            pts, _, packet = heapq.heappop(heap)
            if self.last_pts is not None and pts <= self.last_pts:
                packet.index = None
                self.late += 1
                if self.first_late_pts is None:
                    self.first_late_pts = self.last_pts
                continue
            if self.last_pts is None:
                self._tickers = [Ticker(sampling, pts, self._time_base) for sampling in self._samplings]
            packet.index = self.frames
            for tap, ticker in enumerate(self._tickers):
                if (packet.key or not ticker.keyframes) and ticker.takes(pts):
                    packet.taken |= 1 << tap
            if not unit.begun and self.frames >= self._begin:
                self._begun = True
                unit.begin()
            if unit.begun:
                packet.wanted = packet.taken
            self.frames += 1
            self.last_pts = pts
            self._grown.append(pts)

    # --- feeds ---

    def _close(self, unit: _Unit) -> None:
        wanted = [place for place, packet in enumerate(unit.pending) if packet.wanted]
        packets = _needed(unit.pending[: wanted[-1] + 1]) if wanted else ()
        self._emit(unit, packets, self.frames, last=True)
        unit.pending = []

    def _feed(self, unit: _Unit, eager: bool = False) -> None:
        pending = unit.pending
        settled = next((place for place, packet in enumerate(pending) if packet.index == -1), len(pending))
        wanted = next((place + 1 for place in reversed(range(settled)) if pending[place].wanted), 0)
        if not wanted and settled > HOLD and (unit.begun or sum(packet.size for packet in pending) > HOLD_BYTES):
            if not unit.begun:  # kept no longer: decode it as if it held frame ``begin``
                unit.begin()
                self._feed(unit, eager)
                return
            self._emit(unit, tuple(pending[:settled]), self._done(pending[settled:]), last=False)
            del pending[:settled]
        elif wanted or eager:
            self._emit(unit, _needed(pending[:wanted]), self._done(pending[wanted:]), last=False)
            del pending[:wanted]

    def _done(self, unfed: Iterable[Packet]) -> int:
        """Index below which no wanted frame is left among ``unfed``."""
        return min(
            (packet.index for packet in unfed if packet.wanted and packet.index is not None), default=self.frames
        )

    def _emit(self, unit: _Unit, packets: tuple[Packet, ...], through: int, last: bool) -> None:
        self._feeds.append(Feed(unit.number, packets, through, last))

    def _step_out(self) -> Step | None:
        if not self._grown and not self._feeds:
            return None
        step = Step(self.frames - len(self._grown), tuple(self._grown), tuple(self._feeds))
        self._grown, self._feeds = [], []
        return step


def _needed(packets: Sequence[Packet]) -> tuple[Packet, ...]:
    """The packets of a piece that its wanted frames need; where some were left out, the next one restarts the decoder.

    A GOP is needed for its own wanted frames, and for wanted leading pictures of the GOP after it.
    """
    starts = [place for place, packet in enumerate(packets) if packet.key]
    edges = [0, *(place for place in starts if place), len(packets)] if packets else []
    runs = [packets[a:b] for a, b in itertools.pairwise(edges)]
    kept: list[tuple[Sequence[Packet], bool]] = []  # from the back: packets, whether they follow on those before
    whole = False  # the GOP behind needs all of this one
    for run in reversed(runs):
        last = max((place + 1 for place, packet in enumerate(run) if packet.wanted), default=0)
        leading = run[0].key and any(packet.wanted and packet.pts < run[0].pts for packet in run)
        if not whole and not last:
            continue
        kept.append((run if whole else run[:last], leading))
        whole = bool(leading)
    out: list[Packet] = []
    place = 0
    for run, leading in reversed(kept):
        after = packets.index(run[-1]) + 1
        if run[0].key:
            if run[0] is not packets[place]:
                run[0].restart = True
            if not leading:
                run = [packet for packet in run if packet.wanted or not packet.shown or packet.pts >= run[0].pts]
        out.extend(run)
        place = after
    return tuple(out)

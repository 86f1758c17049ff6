"""Puts the pictures of units that are decoded in parallel back into display order, and into arena slots.

Only the *head*, the oldest unfinished unit, writes into slots; a later unit keeps its scaled pictures until its turn and waits when
``MAX_HELD`` bytes are kept. So every tap's rows come out in order, whichever thread was faster.

One lock (``condition``) guards the order of units, grants and held bytes. The state of the taps belongs to whoever acts for the head.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.adapters.decoders.codecs import Picture
from orchestrator.adapters.decoders.wire import encode
from orchestrator.core.frames import Tap

MAX_HELD = 64 << 20
ROWS_PER_BATCH = 4  # a batch of mostly repeated frames is sent when it names this many times its rows
LEDGER = ("source", "expected", "decoded", "corrupt", "dropped", "skipped", "reused", "redecoded")


class Stopped(Exception):
    """The session has ended."""


class Canvas(Protocol):
    """A slot of the arena that is being filled."""

    def put(self, row: int, picture: Picture) -> None:
        """Have ``picture`` in ``row``, zero around it. Later puts may overtake it until ``commit``."""
        ...

    def commit(self) -> None:
        """Return when every picture is in its row."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A picture from before the first frame that its tap needs, because one that is needed repeats it."""

    tap: int
    index: int
    pts: int
    picture: Picture


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded frame: for each tap that needs it the picture, or the earlier frame that it repeats.

    ``repeated``: it repeats an earlier frame of some tap that takes it. ``sources`` come before it. ``rescued``: another codec than the
    session's own had to decode it.
    """

    index: int
    pts: int
    pictures: tuple[tuple[int, Picture | None, int], ...]
    repeated: bool
    sources: tuple[Source, ...]
    nbytes: int
    rescued: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """A wanted frame that did not come out."""

    index: int
    pts: int
    corrupt: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Every wanted frame of the media below ``through`` has been dealt with."""

    through: int


Outcome = Shown | Missing | Progress


class _TapState:
    def __init__(self, tap: Tap, slots: Sequence[Canvas], free: Sequence[int], resume: int) -> None:
        self.tap, self.slots, self.free = tap, slots, deque(free)
        self.slot: int | None = None
        self.used = 0
        self.rows: list[tuple[int, int, int, int]] = []  # index, pts, row or -1, same_as or -1
        self.through = resume


class _UnitState:
    def __init__(self, number: int) -> None:
        self.number = number
        self.held: deque[Outcome] = deque()
        self.done = False


class Sequencer:
    """Orders outcomes and sends batches. ``counts`` is the ledger of every frame below ``counted``."""

    def __init__(
        self,
        taps: Sequence[Tap],
        slots: Sequence[Sequence[Canvas]],
        free: Sequence[Sequence[int]],
        send: Callable[[bytes], object],
        resume: Sequence[int],
        counted: int,
        counts: dict[str, int],
    ) -> None:
        self.condition = threading.Condition()
        self.counts, self.counted = counts, counted
        self.first_bad_pts: int | None = None
        self._send = send
        self._taps = [_TapState(*each) for each in zip(taps, slots, free, resume, strict=True)]
        self._units: deque[_UnitState] = deque()
        self._by_number: dict[int, _UnitState] = {}
        self._held = 0
        self._awaited: int | None = None  # the first of a session that someone waits for, until they have been sent
        self._hurried = False
        self.stopped = False

    # --- called by the demuxer ---

    def begin(self, number: int) -> None:
        """Unit ``number`` follows those begun before."""
        with self.condition:
            unit = _UnitState(number)
            self._units.append(unit)
            self._by_number[number] = unit

    @property
    def waiting(self) -> int:
        """Units begun and not finished."""
        return len(self._units)

    def flush(self, below: int | None, *, slow: bool = False) -> None:
        """Send part-filled batches that hold frames below ``below`` (``None``: all), with ``slow`` of taps that fill slowly alone. Only
        while no unit is being decoded, or by who acts for the head.
        """
        for number, state in enumerate(self._taps):
            if slow and state.tap.sampling.fps is None and not state.tap.sampling.keyframes:
                continue
            if state.rows and (below is None or state.rows[0][0] < below):
                self._emit(number, state)

    # --- called by the control thread ---

    def grant(self, tap: int, slot: int) -> None:
        """Slot ``slot`` of tap ``tap`` may be written again."""
        with self.condition:
            self._taps[tap].free.append(slot)
            self.condition.notify_all()

    def hurry(self, through: int) -> None:
        """Someone waits for the frames below ``through``. The first time they do not wait for batches to fill either: an analysis
        is looked at when its first segment comes.
        """
        if not self._hurried:
            self._awaited, self._hurried = through, True

    def stop(self) -> None:
        """Wake every waiter with ``Stopped``."""
        with self.condition:
            self.stopped = True
            self.condition.notify_all()

    # --- called by the thread that decodes the unit ---

    def put(self, number: int, outcome: Outcome) -> None:
        """Take the next outcome of a unit; waits for a slot (head) or for room (others)."""
        with self.condition:
            unit = self._by_number[number]
            if self._units[0] is not unit:
                nbytes = outcome.nbytes if isinstance(outcome, Shown) else 0
                while self._held and self._held + nbytes > MAX_HELD and self._units[0] is not unit:
                    self._wait()
                if self._units[0] is not unit:
                    unit.held.append(outcome)
                    self._held += nbytes
                    return
        self._drain(unit)
        self._apply(outcome)

    def catch_up(self, number: int) -> None:
        """Write what the unit holds when it has become the head."""
        with self.condition:
            unit = self._by_number[number]
            if self._units[0] is not unit or not unit.held:
                return
        self._drain(unit)

    def is_head(self, number: int) -> bool:
        """Whether the unit is the oldest unfinished one (call with ``condition`` held)."""
        return bool(self._units) and self._units[0].number == number

    def holds(self, number: int) -> bool:
        """Whether the unit keeps outcomes that it could write by now (call with ``condition`` held)."""
        unit = self._by_number.get(number)
        return unit is not None and bool(unit.held) and self._units[0] is unit

    def end(self, number: int) -> None:
        """The unit has had its last outcome. The head also writes for finished units behind it."""
        with self.condition:
            unit = self._by_number[number]
            unit.done = True
            if self._units[0] is not unit:
                return
        while True:
            self._drain(unit)
            with self.condition:
                self._units.popleft()
                del self._by_number[unit.number]
                self.condition.notify_all()
                if not self._units or not self._units[0].done:
                    return
                unit = self._units[0]

    # --- acting for the head ---

    def _drain(self, unit: _UnitState) -> None:
        while unit.held:
            outcome = unit.held.popleft()
            self._apply(outcome)
            if isinstance(outcome, Shown) and outcome.nbytes:
                with self.condition:
                    self._held -= outcome.nbytes
                    self.condition.notify_all()

    def _apply(self, outcome: Outcome) -> None:
        self._deal_with(outcome)
        awaited = self._awaited
        if awaited is not None and self.counted >= awaited:
            self._awaited = None
            self.flush(awaited, slow=True)

    def _deal_with(self, outcome: Outcome) -> None:
        if isinstance(outcome, Progress):
            self._advance(outcome.through)
            return
        if isinstance(outcome, Missing):
            self._count(outcome.index, "corrupt" if outcome.corrupt else "dropped")
            if self.first_bad_pts is None:
                self.first_bad_pts = outcome.pts
            return
        self._count(outcome.index, "decoded", outcome.repeated, outcome.rescued)
        for source in outcome.sources:
            self._write(source.tap, source.index, source.pts, source.picture)
        for number, picture, same_as in outcome.pictures:
            self._write(number, outcome.index, outcome.pts, picture, same_as)

    def _write(self, number: int, index: int, pts: int, picture: Picture | None, same_as: int = -1) -> None:
        state = self._taps[number]
        row = -1
        if picture is not None:
            if state.slot is None:
                state.slot = self._free_slot(state)
            row, state.used = state.used, state.used + 1
            state.slots[state.slot].put(row, picture)
        state.rows.append((index, pts, row, same_as))
        if state.used == state.tap.batch or len(state.rows) >= ROWS_PER_BATCH * state.tap.batch:
            self._emit(number, state)

    def _count(self, index: int, what: str, repeated: bool = False, again: bool = False) -> None:
        if index < self.counted:
            self.counts["redecoded"] += what == "decoded"
            return
        self.counts["redecoded"] += again
        self.counted = index + 1
        self.counts["expected"] += 1
        self.counts[what] += 1
        self.counts["reused"] += repeated

    def _free_slot(self, state: _TapState) -> int:
        with self.condition:
            while not state.free:
                self._wait()
            return state.free.popleft()

    def _emit(self, number: int, state: _TapState) -> None:
        state.through = max(state.through, state.rows[-1][0] + 1)
        slot = -1 if state.slot is None else state.slot
        if slot >= 0:
            state.slots[slot].commit()
        message = encode("batch", tap=number, slot=slot, through=state.through, rows=state.rows, **self._ledger())
        state.rows, state.slot, state.used = [], None, 0
        self._send(message)

    def _advance(self, through: int) -> None:
        self.counted = max(self.counted, through)
        moved = False
        for state in self._taps:
            reached = state.rows[0][0] if state.rows else through
            if reached > state.through:
                state.through, moved = reached, True
        if moved:
            self._send(encode("advanced", through=[state.through for state in self._taps], **self._ledger()))

    def _ledger(self) -> dict[str, object]:
        self.counts["skipped"] = self.counted - self.counts["expected"]
        ledger = [self.counts[name] for name in LEDGER]
        return {"counted": self.counted, "ledger": ledger, "bad": self.first_bad_pts}

    def ledger(self) -> dict[str, object]:
        """The account so far, as the fields of a message."""
        return self._ledger()

    def _wait(self) -> None:
        if self.stopped:
            raise Stopped
        self.condition.wait()
        if self.stopped:
            raise Stopped

"""The sequencer: rows in display order, whichever unit is decoded first, and who waits is not kept waiting."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np

from orchestrator.adapters.decoders.scaling import MemoryCanvas
from orchestrator.adapters.decoders.sequencer import LEDGER, Progress, Sequencer, Shown
from orchestrator.core.frames import Tap, View
from orchestrator.core.sampling import EVERY_FRAME, Sampling

SLOW = Tap(View(2, 2), Sampling(Fraction(2)), 8)
FAST = Tap(View(2, 2), EVERY_FRAME, 8)


class Desk:
    """A sequencer of one slow and one fast tap, and what it sent."""

    def __init__(self) -> None:
        self.sent: list[dict] = []
        taps = (SLOW, FAST)
        slots = [[MemoryCanvas(np.zeros((8, 2, 2, 3), np.uint8)) for _ in range(6)] for _ in taps]
        free = [range(6) for _ in taps]
        self.sequencer = Sequencer(taps, slots, free, self._take, (0, 0), 0, dict.fromkeys(LEDGER, 0))

    def _take(self, data: bytes) -> None:
        """A receiver that has done with a batch at once."""
        said = json.loads(data)
        self.sent.append(said)
        if said["t"] == "batch" and said["slot"] >= 0:
            self.sequencer.grant(said["tap"], said["slot"])

    def decode(self, unit: int, start: int, end: int) -> None:
        """Every fifth frame is the slow tap's too."""
        for index in range(start, end):
            picture = np.full((2, 2, 3), index, np.uint8)
            taps = (0, 1) if index % 5 == 0 else (1,)
            self.sequencer.put(unit, Shown(index, index, tuple((tap, picture, -1) for tap in taps), False, (), 12))
        self.sequencer.put(unit, Progress(end))

    def batches(self, tap: int) -> list[list[int]]:
        return [[row[0] for row in each["rows"]] for each in self.sent if each["t"] == "batch" and each["tap"] == tap]


def test_batches_fill_when_nobody_waits() -> None:
    desk = Desk()
    desk.sequencer.begin(0)
    desk.decode(0, 0, 50)
    desk.sequencer.end(0)
    assert desk.batches(0) == [[0, 5, 10, 15, 20, 25, 30, 35]]
    assert [len(each) for each in desk.batches(1)] == [8] * 6


def test_the_first_that_someone_waits_for_do_not_wait_for_their_batch() -> None:
    desk = Desk()
    desk.sequencer.begin(0)
    desk.decode(0, 0, 10)
    desk.sequencer.hurry(22)
    desk.decode(0, 10, 40)
    desk.sequencer.hurry(38)  # a batch is allowed to fill from now on
    desk.decode(0, 40, 75)
    desk.sequencer.end(0)
    assert desk.batches(0) == [[0, 5, 10, 15, 20], [25, 30, 35, 40, 45, 50, 55, 60]]
    assert [len(each) for each in desk.batches(1)] == [8] * 9, "one that fills fast is not sent half empty"


def test_who_comes_late_is_served_with_the_next_frame() -> None:
    desk = Desk()
    desk.sequencer.begin(0)
    desk.decode(0, 0, 30)
    desk.sequencer.hurry(22)
    assert desk.batches(0) == []
    desk.decode(0, 30, 31)
    assert desk.batches(0) == [[0, 5, 10, 15, 20, 25, 30]]


def test_units_that_overtake_are_put_back_in_order() -> None:
    desk = Desk()
    for unit in range(3):
        desk.sequencer.begin(unit)
    desk.decode(2, 40, 60)
    desk.sequencer.end(2)
    desk.decode(1, 20, 40)
    desk.sequencer.hurry(20)
    assert desk.sent == []
    desk.decode(0, 0, 20)
    desk.sequencer.end(0)
    desk.sequencer.catch_up(1)
    desk.sequencer.end(1)
    assert desk.batches(0) == [[0, 5, 10, 15], [20, 25, 30, 35, 40, 45, 50, 55]]
    assert [index for each in desk.batches(1) for index in each] == list(range(56))

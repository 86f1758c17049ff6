"""How the pictures of a batch are divided into requests."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from orchestrator.adapters.frames.arena import Arena
from orchestrator.analyzers.batch import PictureBatch
from orchestrator.core.frames import FrameBatch, FrameRow, Tap, View
from orchestrator.core.sampling import Sampling

SIDE = 4


class Model:
    """Answers a picture with its first byte; knows its largest request, and what it was asked."""

    def __init__(self, most: int) -> None:
        self.most, self.asked = most, []

    def batch(self, model: str) -> int:
        return self.most

    async def infer(self, model, inputs, *, rows):
        self.asked.append(rows)
        pixels = inputs["frames"].array((rows, SIDE, SIDE, 3))
        return {"byte": pixels[:, 0, 0, 0].copy()}


@pytest.mark.parametrize(
    ("most", "asked"), [(2, [2, 2, 1]), (4, [4, 1]), (8, [5]), (16, [5])], ids=lambda value: str(value)
)
async def test_a_request_holds_what_the_model_takes_and_no_more_than_there_is(most: int, asked: list[int]):
    tap = Tap(View(SIDE, SIDE), Sampling(Fraction(1)), 8)
    with Arena(1 << 20) as arena, await arena.allocate(tap.slot_bytes) as slot:
        slot.array((8, SIDE, SIDE, 3))[...] = np.arange(8, dtype=np.uint8)[:, None, None, None]
        rows = tuple(FrameRow(index, index, index) for index in range(5))
        model = Model(most)
        batch = PictureBatch.of(FrameBatch(tap, rows, 5, slot), model)
        answers = await batch.infer("bytes")
        await batch.close()
    assert answers["byte"].tolist() == [0, 1, 2, 3, 4]
    assert sorted(model.asked) == sorted(asked)


async def test_requests_divide_a_batch():
    tap = Tap(View(SIDE, SIDE), Sampling(Fraction(1)), 8)
    with Arena(1 << 20) as arena, await arena.allocate(tap.slot_bytes) as slot:
        batch = PictureBatch.of(FrameBatch(tap, (FrameRow(0, 0, 0),), 1, slot), Model(3))
        with pytest.raises(ValueError, match="does not divide"):
            await batch.infer("bytes")
        await batch.close()

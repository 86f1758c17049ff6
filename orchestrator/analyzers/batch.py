"""A batch of pictures as analyzers see it: pixels, and models to ask about them.

Several analyzers share one batch; a model that two of them ask about the whole batch runs once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.frames import FrameBatch, FrameRow
from orchestrator.ports import Inference, Outputs

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """The pictures of one ``FrameBatch`` that need looking at (near-duplicates are left out).

    The pixels are valid while ``analyze`` runs.
    """

    batch: FrameBatch
    rows: tuple[FrameRow, ...]
    inference: Inference
    _memo: dict[str, asyncio.Task[Outputs]]

    @classmethod
    def of(cls, batch: FrameBatch, inference: Inference) -> PictureBatch:
        """The view that all analyzers of a tap share."""
        return cls(batch, tuple(row for row in batch.rows if row.row is not None), inference, {})

    @property
    def pictures(self) -> list[Picture]:
        """uint8 RGB ``[height, width, 3]``, one per entry of ``rows``; views of the arena."""
        if self.batch.slot is None:
            return []
        tap = self.batch.tap
        pixels = self.batch.slot.array((tap.batch, tap.view.height, tap.view.width, 3))
        return [cast(Picture, pixels[row.row]) for row in self.rows]

    async def close(self) -> None:
        """End what nobody waits for any more; afterwards nothing reads the pixels."""
        for task in self._memo.values():
            task.cancel()
        await asyncio.gather(*self._memo.values(), return_exceptions=True)

    async def infer(self, model: str) -> Outputs:
        """Outputs of ``model`` for the pictures: arrays ``[len(rows), ...]``. Asked by reference, once per batch."""
        if not self.rows:
            raise ValueError("a batch without pictures asks no model")
        if model not in self._memo:
            self._memo[model] = asyncio.ensure_future(self._infer_slot(model))
        # Shielded: one analyzer that is cancelled must not take the answer from another.
        return await asyncio.shield(self._memo[model])

    async def _infer_slot(self, model: str) -> Outputs:
        slot, tap = self.batch.slot, self.batch.tap
        assert slot is not None
        rows = min(self.inference.batch(model), tap.batch)
        if tap.batch % rows:
            raise ValueError(f"a tap of {tap.batch} pictures does not divide into requests of {rows} for {model!r}")
        used = [row.row for row in self.rows if row.row is not None]
        size = rows * tap.view.frame_bytes
        starts = sorted({index // rows for index in used})
        parts = [slot if rows == tap.batch else slot.part(start * size, size) for start in starts]
        most = {start: max(index % rows for index in used if index // rows == start) + 1 for start in starts}
        asked = [
            self.inference.infer(model, {"frames": part}, rows=most[start])
            for start, part in zip(starts, parts, strict=True)
        ]
        answers = dict(zip(starts, await asyncio.gather(*asked), strict=True))
        names = answers[starts[0]]
        return {name: np.stack([answers[index // rows][name][index % rows] for index in used]) for name in names}

    async def infer_pictures(
        self, model: str, pictures: Sequence[Picture], output_dims: Mapping[str, tuple[int, ...]] | None = None
    ) -> list[Outputs]:
        """Ask ``model`` about pictures cut out of this batch, all of one size. One ``{output: array}`` per picture."""
        rows = self.inference.batch(model)

        async def ask(part: Sequence[Picture]) -> list[Outputs]:
            frames = np.zeros((rows, *part[0].shape), np.uint8)
            for row, picture in enumerate(part):
                frames[row] = picture
            answer = await self.inference.infer(model, {"frames": frames}, output_dims=output_dims, rows=len(part))
            return [{name: array[row] for name, array in answer.items()} for row in range(len(part))]

        parts = [pictures[start : start + rows] for start in range(0, len(pictures), rows)]
        return [answer for answers in await asyncio.gather(*map(ask, parts)) for answer in answers]

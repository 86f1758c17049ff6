"""Shots: the cuts that segments begin and end on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.frames import FrameBatch, Tap, View
from orchestrator.core.sampling import EVERY_FRAME
from orchestrator.core.segmenting import Boundary
from orchestrator.core.shots import LAG, LEAD, Block, CutFinder, Gate, Thumbnails, Window
from orchestrator.ports import Inference

VIEW = View(48, 27)
BATCH = 25  # windows begin and end on multiples of 25 frames: no thumbnail waits for nothing
IN_FLIGHT = 2

Found = Callable[[list[Boundary], int], None]
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Options:
    """``threshold``: score of a cut. ``gate_step``, ``gate_jump`` and ``gate_drift``: see ``core.shots.Gate``."""

    threshold: float = 0.5
    gate_step: float = 2.0
    gate_jump: float = 2.5
    gate_drift: float = 0.15


class Shots:
    """TransNetV2 through the model ``shots``, behind a gate that spares quiet windows.

    ``feed`` and ``finish`` are called in order; ``found`` is called with new cuts and the frame below which none can
    follow.
    """

    name = "shots"
    models = ("shots",)
    tap = Tap(VIEW, EVERY_FRAME, BATCH)

    def __init__(self, options: Options) -> None:
        self._gate = Gate(options.gate_step, options.gate_jump, options.gate_drift)
        self._cuts = CutFinder(options.threshold)
        self._thumbnails = _Thumbnails()
        self._next_block = 0
        self._pending: deque[tuple[Window, asyncio.Task[Scores] | None]] = deque()
        self.windows_inferred = 0
        self.windows_quiet = 0

    async def feed(self, batch: FrameBatch, inference: Inference, found: Found) -> None:
        """Take the next thumbnails; waits while ``IN_FLIGHT`` windows are with the model. The slot is free on
        return.
        """
        if batch.slot is not None:
            pixels = batch.slot.array((BATCH, VIEW.height, VIEW.width, 3))
            for row in batch.rows:
                if row.row is not None:
                    self._thumbnails.put(row.index, pixels[row.row])
        self._thumbnails.fill(batch.through)
        await self._run(inference, found, None)
        await self._drain(found, IN_FLIGHT, None)  # an answer does not wait until the next window can be asked

    async def finish(self, frames: int, inference: Inference, found: Found) -> None:
        """No thumbnail follows; the media has ``frames`` frames."""
        self._thumbnails.fill(frames)
        await self._run(inference, found, frames)
        await self._drain(found, 0, frames)

    def cancel(self) -> None:
        """Drop what is in flight."""
        for _, task in self._pending:
            if task is not None:
                task.cancel()

    async def _run(self, inference: Inference, found: Found, total: int | None) -> None:
        """Start every window that is ready; ``total`` is the number of frames of the media once it is known."""
        while (block := Block(self._next_block)).ready(frames := len(self._thumbnails), total is not None):
            self._next_block += 1
            for window, needs_model in block.windows(frames, self._may_hold_a_cut):
                task = None
                if needs_model:
                    self.windows_inferred += 1
                    shown = self._thumbnails.pick(window.indices(frames))
                    task = asyncio.ensure_future(self._infer(inference, shown))
                else:
                    self.windows_quiet += 1
                self._pending.append((window, task))
                await self._drain(found, IN_FLIGHT, total)
            self._thumbnails.forget(block.cores[-1].core_end - max(LEAD, LAG))

    def _may_hold_a_cut(self, window: Window) -> bool:
        start, end, jumps = window.seen_by_gate(len(self._thumbnails))
        return self._gate.opens(self._thumbnails.range(start, end), jumps)

    async def _infer(self, inference: Inference, thumbnails: Thumbnails) -> Scores:
        length = (len(thumbnails),)
        answer = await inference.infer(
            "shots", {"frames": thumbnails[None]}, output_dims={"cut": length, "transition": length}
        )
        return np.asarray(answer["cut"][0, LEAD:-LEAD], np.float32)

    async def _drain(self, found: Found, keep: int, total: int | None) -> None:
        """Take answers in order; wait until at most ``keep`` windows are in flight."""
        while self._pending:
            window, task = self._pending[0]
            in_flight = sum(1 for _, other in self._pending if other is not None)
            if task is not None and not task.done() and in_flight <= keep:
                return
            scores = np.zeros(window.core_end - window.core_start, np.float32) if task is None else await task
            self._pending.popleft()
            last = total is not None and window.core_end >= total
            cuts = self._cuts.feed(scores if total is None else scores[: total - window.core_start], last=last)
            found(cuts, self._cuts.settled)


class _Thumbnails:
    """Consecutive thumbnails from ``base`` on; a frame that never came repeats its neighbour."""

    def __init__(self) -> None:
        self._base = 0
        self._frames: list[Thumbnails] = []

    def __len__(self) -> int:
        """Frames known since the media's start."""
        return self._base + len(self._frames)

    def put(self, index: int, picture: Thumbnails) -> None:
        copy = picture.copy()
        while len(self) < index:
            self._frames.append(self._frames[-1] if self._frames else copy)
        self._frames.append(copy)

    def fill(self, through: int) -> None:
        while self._frames and len(self) < through:
            self._frames.append(self._frames[-1])

    def range(self, start: int, end: int) -> Thumbnails:
        return np.stack(self._frames[max(0, start - self._base) : end - self._base])

    def pick(self, indices: NDArray[np.int64]) -> Thumbnails:
        return np.stack([self._frames[index - self._base] for index in indices.tolist()])

    def forget(self, below: int) -> None:
        drop = max(0, below - self._base)
        # The last frame stays: it fills gaps and pads the end.
        drop = min(drop, len(self._frames) - 1)
        del self._frames[:drop]
        self._base += drop

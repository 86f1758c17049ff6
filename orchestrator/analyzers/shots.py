"""Shots: the cuts that segments begin and end on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.frames import FrameBatch, Tap, View
from orchestrator.core.sampling import EVERY_FRAME
from orchestrator.core.segmenting import Boundary
from orchestrator.core.shots import LAG, LEAD, Block, CutFinder, Gate, Thumbnails, Verdict, Window
from orchestrator.ports import Inference

VIEW = View(48, 27)
BATCH = 25  # windows begin and end on multiples of 25 frames: no thumbnail waits for nothing
IN_FLIGHT = 2
MARGIN = max(LEAD, LAG)  # thumbnails that a window needs before its core

Found = Callable[[list[Boundary], int], None]
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Options:
    """``threshold``: score of a cut. ``gate_step``, ``gate_jump``, ``gate_drift`` and ``gate_sure``: see ``core.shots.Gate``."""

    threshold: float = 0.5
    gate_step: float = 2.0
    gate_jump: float = 2.5
    gate_drift: float = 0.15
    gate_sure: float = 20.0


class Shots:
    """TransNetV2 through the model ``shots``, behind a gate that spares it frames which are quiet, or whose cuts are plain (they score 1).

    ``feed`` and ``finish`` are called in order; ``found`` is called with new cuts and the frame below which none can
    follow. ``state`` holds the windows whose scores have been handed on by then, and nothing of the later ones, which
    are judged again.
    """

    name = "shots"
    models = ("shots",)
    revision = 3
    tap = Tap(VIEW, EVERY_FRAME, BATCH, host=True)

    def __init__(self, options: Options) -> None:
        self.options = options
        self._gate = Gate(options.gate_step, options.gate_jump, options.gate_drift, options.gate_sure)
        self._cuts = CutFinder(options.threshold)
        self._thumbnails = _Thumbnails()
        self._next_block = Block(0)
        self._pending: deque[tuple[Window, asyncio.Task[Scores] | None]] = deque()
        self._total: int | None = None  # frames of the media, once known
        self._found: Found = lambda cuts, settled: None
        self.windows_inferred = self.windows_quiet = self.windows_plain = 0

    def state(self) -> Mapping[str, object]:
        """Everything that decides the cuts still to come, as JSON values; ``first`` is the first frame that the tap needs for it."""
        core_start = Block.after(self._cuts.decided).cores[0].core_start
        shown = max(0, min(self._cuts.decided, core_start - MARGIN))
        return {"cuts": self._cuts.state(), "first": self._thumbnails.needed(shown)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state()`` was taken; ``feed`` then begins with frame ``state["first"]``."""
        self._cuts.restore(state["cuts"])
        self._next_block = Block.after(self._cuts.decided)
        self._thumbnails = _Thumbnails(int(state["first"]))

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
        await self._run(inference, found)

    async def finish(self, frames: int, inference: Inference, found: Found) -> None:
        """No thumbnail follows; the media has ``frames`` frames."""
        self._thumbnails.fill(frames)
        self._total = frames
        await self._run(inference, found)
        await self._wait(0)

    def cancel(self) -> None:
        """Drop what is in flight."""
        for task in self._tasks():
            task.cancel()

    async def _run(self, inference: Inference, found: Found) -> None:
        """Start every window that is ready."""
        self._found = found
        while (block := self._next_block).ready(frames := len(self._thumbnails), self._total is not None):
            self._next_block = block.next
            for window in block.windows(frames, self._judge):
                if window.verdict.doubt is not None:
                    self.windows_inferred += 1
                    shown = self._thumbnails.pick(window.shown(frames))
                    task = asyncio.ensure_future(self._infer(inference, shown))
                    # An answer waits for nobody, least of all for bytes of a stalled upload.
                    task.add_done_callback(lambda _: self._collect())
                    self._pending.append((window, task))
                else:
                    self.windows_quiet += not window.verdict.cuts
                    self.windows_plain += bool(window.verdict.cuts)
                    self._pending.append((window, None))
                await self._wait(IN_FLIGHT)
            self._thumbnails.forget(block.cores[-1].core_end - MARGIN)

    def _judge(self, window: Window) -> Verdict:
        start, end, core = window.seen_by_gate(len(self._thumbnails))
        return self._gate.judge(self._thumbnails.range(start, end), core).moved(start)

    async def _infer(self, inference: Inference, thumbnails: Thumbnails) -> Scores:
        length = (len(thumbnails),)
        answer = await inference.infer(
            "shots", {"frames": thumbnails[None]}, output_dims={"cut": length, "transition": length}
        )
        return np.asarray(answer["cut"][0], np.float32)

    async def _wait(self, keep: int) -> None:
        """Wait until at most ``keep`` windows are with the model; raises what one of them raised."""
        self._collect()
        while len(tasks := self._tasks()) > keep:
            await tasks[0]
            self._collect()

    def _tasks(self) -> list[asyncio.Task[Scores]]:
        return [task for _, task in self._pending if task is not None]

    def _collect(self) -> None:
        """Take the answers that are there, in order. A failure stays for whoever waits."""
        while self._pending:
            window, task = self._pending[0]
            if task is not None and (not task.done() or task.cancelled() or task.exception() is not None):
                return
            self._pending.popleft()
            scores = window.scores(task.result() if task is not None else None)
            last = self._total is not None and window.core_end >= self._total
            if self._total is not None:
                scores = scores[: self._total - window.core_start]
            self._found(self._cuts.feed(scores, last=last), self._cuts.settled)


class _Thumbnails:
    """Consecutive thumbnails from ``base`` on; a frame that never came repeats its neighbour.

    Where the media begins with such frames they repeat the first that came, else the last one before them.
    """

    def __init__(self, base: int = 0) -> None:
        self._base = base
        self._frames: list[Thumbnails] = []
        self._gaps: deque[tuple[int, int]] = deque()  # frames [start, end) that never came, apart from each other

    def __len__(self) -> int:
        """Frames known since the media's start."""
        return self._base + len(self._frames)

    def put(self, index: int, picture: Thumbnails) -> None:
        if index < self._base:
            return  # a tap that others share may begin earlier
        copy = picture.copy()
        self._repeat(self._frames[-1] if self._frames else copy, index)
        self._frames.append(copy)

    def fill(self, through: int) -> None:
        if self._frames:
            self._repeat(self._frames[-1], through)

    def _repeat(self, picture: Thumbnails, through: int) -> None:
        start = len(self)
        if through <= start:
            return
        self._frames.extend([picture] * (through - start))
        if self._gaps and self._gaps[-1][1] == start:
            start, _ = self._gaps.pop()
        self._gaps.append((start, through))

    def needed(self, index: int) -> int:
        """The frame whose picture stands for frame ``index``, which will not be asked below again."""
        while self._gaps and self._gaps[0][1] <= index:
            self._gaps.popleft()
        if self._gaps and self._gaps[0][0] <= index:
            return max(0, self._gaps[0][0] - 1)
        return index

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

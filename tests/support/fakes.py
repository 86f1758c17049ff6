"""Fakes of our own ports, for unit tests alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from orchestrator.core.frames import FrameBatch, FrameRow, Tap
from orchestrator.core.jobs import Checkpoint
from orchestrator.core.media import Ledger, LedgerMark, MediaInfo
from orchestrator.core.results import AnalysisEvent, ModelVersion, Progress, Segment, SegmentClosed, Started
from orchestrator.errors import VersionWithdrawn


class FakeSlot:
    """Plain memory that counts its holders."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = np.ascontiguousarray(pixels)
        self.holders = 1

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    def array(self, shape: tuple[int, ...], dtype: str = "uint8", offset: int = 0) -> np.ndarray:
        assert self.holders > 0, "read after release"
        flat = self.pixels.reshape(-1).view(np.uint8)[offset:]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return flat[:size].view(dtype).reshape(shape)

    def part(self, offset: int, nbytes: int) -> FakeSlot:
        return FakeSlot(self.pixels.reshape(-1)[offset : offset + nbytes])

    def retain(self) -> None:
        self.holders += 1

    def release(self) -> None:
        assert self.holders > 0, "released more often than held"
        self.holders -= 1


@dataclass
class FakeInference:
    """Answers by plain functions of the frames; counts requests, and remembers for whom it was pinned. Each of the ``withdrawals``
    left ends one request."""

    models: Mapping[str, tuple[int, Callable[[np.ndarray], dict[str, np.ndarray]]]]
    views: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    delay: Callable[[], float] = lambda: 0.0
    requests: list[str] = field(default_factory=list)
    pins: list[str] = field(default_factory=list)
    pinned_now: int = 0
    withdrawals: int = 0

    async def infer(self, model: str, inputs: Mapping[str, Any], **_: Any) -> Mapping[str, np.ndarray]:
        self.requests.append(model)
        if self.withdrawals:
            self.withdrawals -= 1
            raise VersionWithdrawn(f"the version of {model} was rolled back")
        rows, answer = self.models[model]
        frames = inputs["frames"]
        if not isinstance(frames, np.ndarray):
            frames = frames.array((rows, *self.views[model]))
        assert len(frames) == rows, f"{model} takes exactly {rows} rows"
        frames = frames.copy()
        await asyncio.sleep(self.delay())
        return answer(frames)

    def batch(self, model: str) -> int:
        return self.models[model][0]

    def version(self, model: str) -> ModelVersion:
        return ModelVersion(model, "1", "0" * 64)

    async def ready(self, models: Sequence[str]) -> None:
        for model in models:
            assert model in self.models

    @contextmanager
    def pinned(self, key: str) -> Iterator[FakeInference]:
        self.pins.append(key)
        self.pinned_now += 1
        try:
            yield self
        finally:
            self.pinned_now -= 1


class ScriptedDecoder:
    """Plays a list of events, and remembers who hurried it."""

    starved, starved_seconds = False, 0.0

    def __init__(self, events: Sequence[Any], failure: Exception | None = None) -> None:
        self.script, self.failure, self.hurried = events, failure, []

    @asynccontextmanager
    async def open(self, source: Any, request: Any) -> AsyncIterator[ScriptedDecoder]:
        yield self

    async def events(self) -> AsyncIterator[Any]:
        for event in self.script:
            await asyncio.sleep(0)
            yield event
        if self.failure is not None:
            raise self.failure

    def hurry(self, through: int) -> None:
        self.hurried.append(through)

    def ledger(self) -> Ledger:
        return Ledger()

    def mark(self) -> LedgerMark:
        return LedgerMark()


def batch(
    tap: Tap,
    indices: Sequence[int],
    through: int,
    level: Callable[[int], int] = int,
    same: Mapping[int, int] | None = None,
) -> FrameBatch:
    """Flat gray pictures; frame ``i`` has the gray ``level(i)``; ``same`` maps repeated frames to their source."""
    same = same or {}
    pixels = np.zeros((tap.batch, tap.view.height, tap.view.width, 3), np.uint8)
    rows, used = [], 0
    for index in indices:
        if index in same:
            rows.append(FrameRow(index, index * 40, None, same[index]))
        else:
            pixels[used] = level(index)
            rows.append(FrameRow(index, index * 40, used))
            used += 1
    return FrameBatch(tap, tuple(rows), through, FakeSlot(pixels) if used else None)


class Events(list[AnalysisEvent]):
    """Collects what an analysis tells, and keeps checkpoints as a store does: as JSON."""

    def __init__(self, memory: Sequence[Mapping[str, object]] = ()) -> None:
        super().__init__()
        self._memory = list(memory)
        self.points: list[tuple[Checkpoint, list[Mapping[str, object]]]] = []

    async def started(self, started: Started) -> None:
        self.append(started)

    async def segment(self, segment: Segment, checkpoint: Checkpoint) -> None:
        state, memo = json.loads(json.dumps(checkpoint.state)), json.loads(json.dumps(checkpoint.memo))
        self._memory = [*([] if checkpoint.forget else self._memory), memo]
        self.append(SegmentClosed(segment))
        self.points.append((replace(checkpoint, state=state, memo=memo), self._memory))

    async def progress(self, progress: Progress) -> None:
        self.append(progress)

    @property
    def segments(self) -> list[Segment]:
        return [event.segment for event in self if isinstance(event, SegmentClosed)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


def media(**changes: Any) -> MediaInfo:
    """A 1280x720 video at 25 frames per second with a clock of milliseconds."""
    from fractions import Fraction

    facts: dict[str, Any] = {
        "container": "mov", "codec": "h264", "width": 1280, "height": 720, "rotation": 0, "time_base": Fraction(1,
        1000),
        "start_pts": 0, "duration_ns": None, "average_rate": Fraction(25),
    }  # fmt: skip
    return MediaInfo(**(facts | changes))

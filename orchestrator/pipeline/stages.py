"""Where the time of an analysis goes. Noted per batch, request and segment, never per frame: it costs next to nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from orchestrator.core.frames import Slot
from orchestrator.core.results import ModelVersion
from orchestrator.core.statistics import Spent
from orchestrator.ports import Inference, Outputs, Tensor


class Stages:
    """Seconds by stage (see ``core.statistics.Stats``) and frames by analyzer, over all attempts on one analysis.

    ``done`` rises with everything that was got done: whoever sees it stand still for long sees an attempt that is stuck. ``heard`` is told
    what is added here, stage by stage.
    """

    def __init__(self, heard: Callable[[str, float], None] | None = None) -> None:
        self._heard = heard
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._frames: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self.done = 0

    def add(self, stage: str, seconds: float) -> None:
        """Something of ``stage`` is done, and took so long."""
        self._seconds[stage] += seconds
        self.done += 1
        if self._heard is not None:
            self._heard(stage, seconds)

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Add what is done inside, once it is done."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(stage, time.monotonic() - began)

    def given(self, analyzer: str, frames: int, reused: int) -> None:
        """An analyzer was given ``frames``, of which ``reused`` took a near-duplicate's answer."""
        before = self._frames[analyzer]
        self._frames[analyzer] = (before[0] + frames, before[1] + reused)

    @property
    def spent(self) -> Spent:
        """All of it so far."""
        return Spent(dict(self._seconds), dict(self._frames))

    def state(self) -> Mapping[str, object]:
        """The same as JSON, for the next attempt."""
        frames = {name: list(counts) for name, counts in self._frames.items()}
        return {"seconds": {name: round(seconds, 6) for name, seconds in self._seconds.items()}, "frames": frames}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Add what earlier attempts have left."""
        for stage, seconds in state.get("seconds", {}).items():
            self._seconds[stage] += float(seconds)
        for analyzer, (frames, reused) in state.get("frames", {}).items():
            self.given(analyzer, int(frames), int(reused))


class Timed:
    """An ``Inference`` that notes how long each model takes."""

    def __init__(self, inference: Inference, stages: Stages) -> None:
        self._inference, self._stages = inference, stages

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Slot | Tensor],
        *,
        output_dims: Mapping[str, tuple[int, ...]] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        rows: int | None = None,
    ) -> Outputs:
        """See the port."""
        with self._stages.during(f"model/{model}"):
            return await self._inference.infer(model, inputs, output_dims=output_dims, shapes=shapes, rows=rows)

    def batch(self, model: str) -> int:
        """See the port."""
        return self._inference.batch(model)

    def version(self, model: str) -> ModelVersion:
        """See the port."""
        return self._inference.version(model)

    async def ready(self, models: Sequence[str]) -> None:
        """See the port."""
        await self._inference.ready(models)

    def pinned(self, key: str) -> AbstractContextManager[Inference]:
        """See the port. What is asked through the view is not noted."""
        return self._inference.pinned(key)

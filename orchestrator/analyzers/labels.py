"""Labels: what the whole picture shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.analyzers.base import Observation, SampledOptions
from orchestrator.analyzers.batch import PictureBatch
from orchestrator.core.frames import Tap, View
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import LabelScore
from orchestrator.core.segmenting import PlannedSegment

VIEW = View(224, 224)
BATCH = 8


@dataclass(frozen=True, slots=True)
class Options(SampledOptions):
    """``top``: labels kept per segment. ``floor``: lowest mean score reported."""

    top: int = 5
    floor: float = 0.05


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best classes of one picture."""

    classes: NDArray[np.int32]
    scores: NDArray[np.float32]


class Labels:
    """Scene labels through the model ``labels``."""

    name = "labels"
    models = ("labels",)
    revision = 1

    def __init__(self, options: Options, names: Sequence[str]) -> None:
        self.options = options
        self._names = names
        self.tap = Tap(VIEW, options.sampling, BATCH, options.reuse)

    def open(self, media: MediaInfo) -> None:
        """Nothing depends on the media."""

    async def analyze(self, batch: PictureBatch) -> Sequence[Ranked]:
        """The best classes per picture."""
        out = await batch.infer("labels")
        return [Ranked(*row) for row in zip(out["classes"], out["scores"], strict=True)]

    def close(self, segment: PlannedSegment, seen: Sequence[Observation[Ranked]]) -> tuple[LabelScore, ...] | None:
        """Mean score per class over the sampled frames."""
        if not seen:
            return None
        scores: dict[int, list[tuple[float, Observation[Ranked]]]] = defaultdict(list)
        for observation in seen:
            for index, score in zip(observation.value.classes.tolist(), observation.value.scores.tolist(), strict=True):
                scores[index].append((score, observation))
        ranked = sorted(scores.items(), key=lambda item: (-sum(score for score, _ in item[1]), item[0]))
        labels = []
        for index, hits in ranked[: self.options.top]:
            mean = sum(score for score, _ in hits) / len(seen)
            best_score, best = max(hits, key=lambda hit: hit[0])
            if mean >= self.options.floor:
                labels.append(LabelScore(self._names[index], mean, best_score, best.at))
        return tuple(labels)

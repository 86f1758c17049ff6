"""Moderation: how unsafe the worst picture of a segment is, and where it is."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.analyzers.base import Observation, SampledOptions
from orchestrator.analyzers.batch import PictureBatch
from orchestrator.analyzers.labels import BATCH, VIEW
from orchestrator.core.frames import Tap
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import Moderation as ModerationValue
from orchestrator.core.segmenting import PlannedSegment

UNSAFE = "nsfw"


class Moderation:
    """Score of the class ``nsfw`` through the model ``moderation``."""

    name = "moderation"
    models = ("moderation",)
    revision = 1

    def __init__(self, options: SampledOptions, names: Sequence[str]) -> None:
        self.options = options
        self._unsafe = list(names).index(UNSAFE)
        self.tap = Tap(VIEW, options.sampling, BATCH, options.reuse)

    def open(self, media: MediaInfo) -> None:
        """Nothing depends on the media."""

    async def analyze(self, batch: PictureBatch) -> Sequence[float]:
        """The unsafe score per picture."""
        scores = (await batch.infer("moderation"))["scores"]
        return [float(score) for score in scores[:, self._unsafe]]

    def close(self, segment: PlannedSegment, seen: Sequence[Observation[float]]) -> ModerationValue | None:
        """Highest and mean score."""
        if not seen:
            return None
        worst = max(seen, key=lambda observation: observation.value)
        mean = sum(observation.value for observation in seen) / len(seen)
        return ModerationValue(UNSAFE, worst.value, mean, worst.at)

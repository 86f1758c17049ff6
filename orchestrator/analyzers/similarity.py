"""Similarity vectors: the mean image vector of a segment, for "more like this"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.analyzers.base import Observation, SampledOptions
from orchestrator.analyzers.batch import PictureBatch
from orchestrator.analyzers.labels import BATCH, VIEW
from orchestrator.core.frames import Tap
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import Similarity as SimilarityValue
from orchestrator.core.segmenting import PlannedSegment

Vector = NDArray[np.float32]


class Similarity:
    """Unit vectors out of the penultimate layer of the model ``labels`` (which runs once for both)."""

    name = "similarity"
    models = ("labels",)
    revision = 1

    def __init__(self, options: SampledOptions) -> None:
        self.options = options
        self.tap = Tap(VIEW, options.sampling, BATCH, options.reuse)

    def open(self, media: MediaInfo) -> None:
        """Nothing depends on the media."""

    async def analyze(self, batch: PictureBatch) -> Sequence[Vector]:
        """One vector ``[1280]`` per picture."""
        return list((await batch.infer("labels"))["vector"])

    def close(self, segment: PlannedSegment, seen: Sequence[Observation[Vector]]) -> SimilarityValue | None:
        """The mean of the vectors, brought back to unit length."""
        if not seen:
            return None
        mean: NDArray[np.float64] = np.mean([observation.value for observation in seen], axis=0, dtype=np.float64)
        norm = float(np.linalg.norm(mean))
        return SimilarityValue(tuple(float(value) for value in mean / norm)) if norm else None

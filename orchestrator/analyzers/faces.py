"""Faces: how many, where, and a vector for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.analyzers.base import Observation, SampledOptions
from orchestrator.analyzers.batch import Picture, PictureBatch
from orchestrator.analyzers.large import LARGE, large_tap
from orchestrator.analyzers.pictures import resize, square_crop
from orchestrator.core.frames import Tap
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import Box, FaceSighting
from orchestrator.core.results import Faces as FacesValue
from orchestrator.core.segmenting import PlannedSegment

DETECTOR_SIDE = 256
FACE_SIDE = 224
MARGIN = 0.2  # of the box's side, at each end, as the embedding was trained with


@dataclass(frozen=True, slots=True)
class Options(SampledOptions):
    """``min_score``: of a detection. ``likeness``: cosine above which two sightings are one face."""

    min_score: float = 0.6
    likeness: float = 0.6
    min_side: int = 24  # pixels of the large picture; smaller faces have no usable vector


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face in one picture."""

    box: Box
    score: float
    vector: NDArray[np.float32]


class Faces:
    """BlazeFace through ``faces``, vectors through ``face_embedding``."""

    name = "faces"
    models = ("faces", "face_embedding")
    revision = 1

    def __init__(self, options: Options) -> None:
        self.options = options
        self._content = (LARGE.width, LARGE.height)
        self.tap: Tap = large_tap(options.sampling, options.reuse)

    def open(self, media: MediaInfo) -> None:
        """Learn how much of the view the picture fills."""
        self._content = LARGE.content(media.width, media.height)

    async def analyze(self, batch: PictureBatch) -> Sequence[tuple[Sighting, ...]]:
        """The faces of each picture."""
        width, height = self._content
        contents = [picture[:height, :width] for picture in batch.pictures]
        small = [resize(content, DETECTOR_SIDE, DETECTOR_SIDE) for content in contents]
        answers = await batch.infer_pictures("faces", small)
        found: list[tuple[int, NDArray[np.float32], float]] = []
        for number, answer in enumerate(answers):
            for box, score in zip(answer["boxes"], answer["scores"], strict=True):
                x0, y0, x1, y1 = pixels = box * (width, height, width, height)
                if score >= self.options.min_score and min(x1 - x0, y1 - y0) >= self.options.min_side:
                    found.append((number, pixels, float(score)))
        crops: list[Picture] = [square_crop(contents[number], box, FACE_SIDE, MARGIN) for number, box, _ in found]
        vectors = await batch.infer_pictures("face_embedding", crops) if crops else []
        sightings: list[list[Sighting]] = [[] for _ in contents]
        for (number, box, score), answer in zip(found, vectors, strict=True):
            x0, y0, x1, y1 = np.clip(box / (width, height, width, height), 0.0, 1.0).tolist()
            sightings[number].append(Sighting((x0, y0, x1, y1), score, np.asarray(answer["vector"], np.float32)))
        return [tuple(faces) for faces in sightings]

    def close(self, segment: PlannedSegment, seen: Sequence[Observation[tuple[Sighting, ...]]]) -> FacesValue | None:
        """Sightings grouped by likeness to the best one of each group, most seen first."""
        if not seen:
            return None
        groups: list[list[tuple[Observation[tuple[Sighting, ...]], Sighting]]] = []
        for observation in seen:
            for sighting in observation.value:
                likeness = [float(group[0][1].vector @ sighting.vector) for group in groups]
                if likeness and max(likeness) >= self.options.likeness:
                    groups[int(np.argmax(likeness))].append((observation, sighting))
                else:
                    groups.append([(observation, sighting)])
        faces = []
        for group in sorted(groups, key=len, reverse=True):
            observation, best = max(group, key=lambda pair: pair[1].score)
            faces.append(FaceSighting(best.score, best.box, observation.at, len(group), tuple(best.vector.tolist())))
        return FacesValue(tuple(faces), max(len(observation.value) for observation in seen))

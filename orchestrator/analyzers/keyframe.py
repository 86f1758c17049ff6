"""Keyframe: the picture that stands for a segment, as a JPEG thumbnail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.analyzers.base import Observation, SampledOptions
from orchestrator.analyzers.batch import PictureBatch
from orchestrator.analyzers.pictures import encode_jpeg, sharpness
from orchestrator.core.frames import Fit, Tap, View
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import Thumbnail
from orchestrator.core.segmenting import PlannedSegment

VIEW = View(480, 270, Fit.LETTERBOX)


@dataclass(frozen=True, slots=True)
class Options(SampledOptions):
    """``fps`` is high, so that the shortest shots have a picture too. ``quality``: of the JPEG, 1..100."""

    fps: float = 4.0
    quality: int = 80


@dataclass(frozen=True, slots=True)
class Still:
    """One candidate."""

    jpeg: bytes = field(repr=False)
    sharpness: float
    width: int
    height: int


class Keyframe:
    """Picks the sharpest sampled picture; it asks no model."""

    name = "keyframe"
    models = ()
    revision = 1

    def __init__(self, options: Options) -> None:
        self.options = options
        self._width, self._height = VIEW.width, VIEW.height
        self.tap = Tap(VIEW, options.sampling, 4, options.reuse, host=True)

    def open(self, media: MediaInfo) -> None:
        """Learn how much of the view the picture fills."""
        self._width, self._height = VIEW.content(media.width, media.height)

    async def analyze(self, batch: PictureBatch) -> Sequence[Still]:
        """JPEG and sharpness per picture."""
        stills = []
        for picture in batch.pictures:
            content = picture[: self._height, : self._width]
            stills.append(
                Still(encode_jpeg(content, self.options.quality), sharpness(content), self._width, self._height)
            )
        return stills

    def close(self, segment: PlannedSegment, seen: Sequence[Observation[Still]]) -> Thumbnail | None:
        """The sharpest picture; the earliest of equals."""
        if not seen:
            return None
        best = max(seen, key=lambda observation: observation.value.sharpness)
        return Thumbnail(best.value.jpeg, best.at, best.value.width, best.value.height)

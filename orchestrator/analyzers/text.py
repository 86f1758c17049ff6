"""On-screen text: lines found, straightened, read, and joined over time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from orchestrator.analyzers.base import Observation, SampledOptions
from orchestrator.analyzers.batch import Picture, PictureBatch
from orchestrator.analyzers.large import LARGE, large_tap
from orchestrator.analyzers.pictures import Quad, TextRegion, straighten, text_regions
from orchestrator.core.boxes import iou
from orchestrator.core.frames import Tap
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import Box, TextLine
from orchestrator.core.segmenting import PlannedSegment

HEIGHT = 48  # of a straightened line, pixels
WIDTHS = (160, 320, 640, 960)  # a line takes the narrowest that holds it: a shape depends on the line alone
ORIENTATION_WIDTH = 192
GRAY = 128  # zero after the model's normalisation


@dataclass(frozen=True, slots=True)
class Options(SampledOptions):
    """``min_score``: mean confidence of a reading worth reporting; ``min_length``: its characters (a lone one is
    mostly texture). ``orientation``: also read lines that stand on
    their head.

    ``threshold``, ``min_region_score`` and ``unclip`` are those of the DB post-processing.
    """

    min_score: float = 0.85
    min_length: int = 2
    orientation: bool = False
    threshold: float = 0.3
    min_region_score: float = 0.6
    unclip: float = 1.6
    max_lines: int = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """A line in one picture."""

    text: str
    score: float
    box: Box


class Text:
    """PP-OCR through ``text_detection``, ``text_recognition`` and, on demand, ``text_orientation``."""

    name = "text"
    revision = 1

    def __init__(self, options: Options, alphabet: Sequence[str]) -> None:
        self.options = options
        self._alphabet = alphabet
        self._content = (LARGE.width, LARGE.height)
        self.models: tuple[str, ...] = ("text_detection", "text_recognition")
        if options.orientation:
            self.models += ("text_orientation",)
        self.tap: Tap = large_tap(options.sampling, options.reuse)

    def open(self, media: MediaInfo) -> None:
        """Learn how much of the view the picture fills."""
        self._content = LARGE.content(media.width, media.height)

    async def analyze(self, batch: PictureBatch) -> Sequence[tuple[Reading, ...]]:
        """The readings of each picture."""
        maps = (await batch.infer("text_detection"))["probability"]
        return await asyncio.gather(
            *(
                self._read(batch, picture, probability)
                for picture, probability in zip(batch.pictures, maps, strict=True)
            )
        )

    async def _read(self, batch: PictureBatch, picture: Picture, probability: Picture) -> tuple[Reading, ...]:
        options = self.options
        regions = text_regions(probability, options.threshold, options.min_region_score, options.unclip)
        readings = await asyncio.gather(
            *(self._read_line(batch, picture, probability.shape[1], region) for region in regions[: options.max_lines])
        )
        return tuple(r for r in readings if len(r.text) >= options.min_length and r.score >= options.min_score)

    async def _read_line(self, batch: PictureBatch, picture: Picture, map_width: int, region: TextRegion) -> Reading:
        quad = region.quad * (picture.shape[1] / map_width)
        width, height = np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[3] - quad[0])
        length = max(8, round(HEIGHT * float(width) / max(float(height), 1.0)))
        if self.options.orientation and await self._upside_down(batch, picture, quad, length):
            quad = np.roll(quad, 2, axis=0)
        canvas = next((bucket for bucket in WIDTHS if bucket >= length), WIDTHS[-1])
        line = straighten(picture, quad, min(length, canvas), HEIGHT, canvas, GRAY)
        (answer,) = await batch.infer_pictures(
            "text_recognition", [line], {"indices": (canvas,), "confidences": (canvas,)}
        )
        text, score = collapse(answer["indices"].tolist(), answer["confidences"].tolist(), self._alphabet)
        return Reading(text, score, self._box(quad))

    async def _upside_down(self, batch: PictureBatch, picture: Picture, quad: Quad, length: int) -> bool:
        width = min(length, ORIENTATION_WIDTH)
        line = straighten(picture, quad, width, HEIGHT, ORIENTATION_WIDTH, GRAY)
        (answer,) = await batch.infer_pictures("text_orientation", [line])
        return bool(answer["scores"][1] > 0.9)

    def _box(self, quad: Quad) -> Box:
        width, height = self._content
        x0, y0 = quad.min(axis=0)
        x1, y1 = quad.max(axis=0)
        corners = np.clip([x0 / width, y0 / height, x1 / width, y1 / height], 0.0, 1.0).tolist()
        return corners[0], corners[1], corners[2], corners[3]

    def close(
        self, segment: PlannedSegment, seen: Sequence[Observation[tuple[Reading, ...]]]
    ) -> tuple[TextLine, ...] | None:
        """The lines of the segment in order of appearance, readings of one line joined."""
        lines: list[list[tuple[Observation[tuple[Reading, ...]], Reading]]] = []
        for observation in seen:
            for reading in observation.value:
                home = next((line for line in lines if _same_line(line[-1][1], reading)), None)
                if home is None:
                    lines.append([(observation, reading)])
                else:
                    home.append((observation, reading))
        return tuple(_sum_up(line) for line in lines)


def _same_line(before: Reading, now: Reading) -> bool:
    """Two readings of one line: nearly the same letters at nearly the same place."""
    alike = before.text == now.text or SequenceMatcher(None, before.text, now.text, autojunk=False).ratio() >= 0.75
    return alike and iou(before.box, now.box) >= 0.3


def _sum_up(line: list[tuple[Observation[tuple[Reading, ...]], Reading]]) -> TextLine:
    """The reading that was made most often (of equals: with the highest score)."""
    votes: dict[str, list[Reading]] = {}
    for _, reading in line:
        votes.setdefault(reading.text, []).append(reading)
    winners = max(votes.values(), key=lambda readings: (len(readings), max(reading.score for reading in readings)))
    best = max(winners, key=lambda reading: reading.score)
    return TextLine(best.text, best.score, best.box, line[0][0].at, line[-1][0].at, len(line))


def collapse(indices: Sequence[int], confidences: Sequence[float], alphabet: Sequence[str]) -> tuple[str, float]:
    """CTC best path (Graves et al. 2006): repeats joined, blanks (index 0) dropped. Returns the text and its mean
    confidence.
    """
    text, scores, previous = [], [], 0
    for index, confidence in zip(indices, confidences, strict=True):
        if index not in (0, previous):
            text.append(alphabet[index])
            scores.append(confidence)
        previous = index
    return "".join(text).strip(), (sum(scores) / len(scores) if scores else 0.0)

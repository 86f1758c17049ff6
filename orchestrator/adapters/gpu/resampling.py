"""Resizing as two matrix products: ``rows(h, H) @ picture[H, W] @ columns(W, w)``.

A matrix unit does that in microseconds, at any size, without a kernel of our own; and it is libswscale's arithmetic: shrinking
averages areas, anything else is bicubic.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
_CUBIC = 0.6  # libswscale's default: B = 0, C = 0.6


@lru_cache(maxsize=256)
def weights(out: int, size: int) -> Weights:
    """``[out, size]``: row *i* makes output pixel *i* of ``size`` input pixels; each row adds up to 1."""
    return _areas(out, size) if out <= size else _cubic(out, size)


def _areas(out: int, size: int) -> Weights:
    """Output pixel *i* is the mean of ``[i, i + 1) * size / out``, parts of pixels counted as parts."""
    edges = np.arange(out + 1) * size / out
    pixels = np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    covered = np.maximum(covered, 0.0)
    return np.asarray(covered / covered.sum(axis=1, keepdims=True))


def _cubic(out: int, size: int) -> Weights:
    """Four taps around the centre; the outermost pixels are repeated beyond the edges."""
    centres = (np.arange(out) + 0.5) * size / out - 0.5
    first = np.floor(centres).astype(int) - 1
    taps = first[:, None] + np.arange(4)
    distance = np.abs(centres[:, None] - taps)
    near = (2 - _CUBIC) * distance**3 + (_CUBIC - 3) * distance**2 + 1
    far = -_CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    values = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    values /= values.sum(axis=1, keepdims=True)
    made = np.zeros((out, size))
    np.add.at(made, (np.arange(out)[:, None], np.clip(taps, 0, size - 1)), values)
    return made

"""Resizing by matrices: exact areas, libswscale's own arithmetic, nothing lost at the edges."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation, VideoReformatter

from orchestrator.adapters.gpu.resampling import weights


def exact_area(out: int, size: int) -> np.ndarray:
    """By fractions, pixel by pixel."""
    made = np.zeros((out, size))
    step = Fraction(size, out)
    for row in range(out):
        low, high = row * step, (row + 1) * step
        for pixel in range(size):
            made[row, pixel] = max(Fraction(0), min(high, Fraction(pixel + 1)) - max(low, Fraction(pixel))) / step
    return made


@pytest.mark.parametrize(("out", "size"), [(1, 7), (3, 7), (7, 7), (48, 128), (27, 96), (5, 1080)])
def test_shrinking_averages_exact_areas(out: int, size: int) -> None:
    assert np.allclose(weights(out, size), exact_area(out, size), atol=1e-12)


@pytest.mark.parametrize(("out", "size"), [(8, 7), (14, 7), (200, 96), (1000, 3), (5, 1), (2, 1)])
def test_growing_keeps_the_mean_and_straight_lines(out: int, size: int) -> None:
    made = weights(out, size)
    assert made.shape == (out, size)
    assert np.allclose(made.sum(axis=1), 1.0)
    assert np.allclose(made, made[::-1, ::-1]), "left and right are treated alike"
    if size > 6:
        line = made @ np.arange(size)
        inner = slice(2 * out // size, -2 * out // size)
        centres = (np.arange(out) + 0.5) * size / out - 0.5
        assert np.abs(line[inner] - centres[inner]).max() < 0.08  # C = 0.6 is not quite linear


@pytest.mark.parametrize("size", [(48, 27), (224, 224), (300, 200)])
def test_it_is_what_libswscale_does(size: tuple[int, int]) -> None:
    """Grey, so that colour conversion has no say: at most one level for its integer arithmetic."""
    grey = np.random.default_rng(1).integers(0, 256, (30, 40), np.uint8).repeat(8, 0).repeat(8, 1)
    width, height = size
    theirs = VideoReformatter().reformat(
        av.VideoFrame.from_ndarray(grey, "gray"), width, height, "gray", interpolation=int(Interpolation.AREA)
    )
    ours = weights(height, 240) @ grey @ weights(width, 320).T
    assert np.abs(theirs.to_ndarray() - np.round(ours)).max() <= 1

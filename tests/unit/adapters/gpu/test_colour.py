"""Matrix coefficients and ranges, against colours whose samples the standards name, and the equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.gpu.colour import KR_KB, Colour


def rgb(colour: Colour, *samples: float) -> np.ndarray:
    matrix, offset = colour.affine()
    return matrix @ np.array(samples) + offset


@pytest.mark.parametrize(
    ("matrix", "samples", "shown"),
    [
        (1, (16, 128, 128), (0, 0, 0)),
        (1, (235, 128, 128), (255, 255, 255)),
        (1, (63, 102, 240), (255, 0, 0)),  # colour bars of BT.709
        (1, (173, 42, 26), (0, 255, 0)),
        (1, (32, 240, 118), (0, 0, 255)),
        (6, (81, 90, 240), (255, 0, 0)),  # and of BT.601
        (5, (145, 54, 34), (0, 255, 0)),
        (6, (41, 240, 110), (0, 0, 255)),
    ],
)
def test_colour_bars(matrix: int, samples: tuple[int, ...], shown: tuple[int, ...]) -> None:
    assert np.abs(rgb(Colour(matrix, full_range=False), *samples) - shown).max() < 2.0  # samples are rounded


@given(st.sampled_from(sorted(KR_KB)), st.booleans(), st.tuples(*[st.floats(0, 255, width=32, allow_nan=False)] * 3))
def test_it_undoes_the_equations_of_the_standard(matrix: int, full: bool, shown: tuple[float, float, float]) -> None:
    red, green, blue = shown
    kr, kb = KR_KB[matrix]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    black, light, colour = (0, 255, 255) if full else (16, 219, 224)
    samples = black + luma * light / 255, cb * colour / 255 + 128, cr * colour / 255 + 128
    assert np.allclose(rgb(Colour(matrix, full), *samples), shown, atol=1e-9)


def test_a_matrix_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="matrix coefficients"):
        Colour(0, full_range=True)  # RGB

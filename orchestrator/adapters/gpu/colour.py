"""From YCbCr to RGB: ITU-T H.273 matrix coefficients and ranges as one affine map.

Samples are on the scale of 8 bits, whatever their depth (a 10-bit sample is divided by 4); RGB is full range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: H.273 MatrixCoefficients -> Kr, Kb. Others (RGB, YCgCo, constant luminance, ICtCp) are not decoded here.
KR_KB: dict[int, tuple[float, float]] = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
}


@dataclass(frozen=True, slots=True)
class Colour:
    """How samples are to be understood: ``matrix`` is one of ``KR_KB``."""

    matrix: int
    full_range: bool

    def __post_init__(self) -> None:
        if self.matrix not in KR_KB:
            raise ValueError(f"matrix coefficients are one of {sorted(KR_KB)}, got {self.matrix}")

    def affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``matrix [3, 3]`` and ``offset [3]``: ``rgb = matrix @ (y, cb, cr) + offset``."""
        kr, kb = KR_KB[self.matrix]
        kg = 1 - kr - kb
        luma, chroma = (1.0, 1.0) if self.full_range else (255 / 219, 255 / 224)
        matrix = np.array(
            [
                [luma, 0.0, chroma * 2 * (1 - kr)],
                [luma, -chroma * 2 * (1 - kb) * kb / kg, -chroma * 2 * (1 - kr) * kr / kg],
                [luma, chroma * 2 * (1 - kb), 0.0],
            ]
        )
        black = np.array([0.0 if self.full_range else 16.0, 128.0, 128.0])
        return matrix, -matrix @ black

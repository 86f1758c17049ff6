"""Whether two versions of a model give the same answer, as far as a service can tell without knowing what the answer means. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: Two numbers are alike when they differ by at most this share of the range of values that the first version gave.
TOLERANCE = 0.1
#: Two answers agree when at least this share of the entries of each output are alike.
ALIKE = 0.75
_SHORT = 64  # entries of a last axis that are compared regardless of their order

Answer = Mapping[str, NDArray[np.generic]]


def agree(first: Answer, second: Answer) -> bool:
    """Whether ``second`` says what ``first`` does: the same outputs in the same shapes, and enough alike of each."""
    return first.keys() == second.keys() and all(alike(first[name], second[name]) >= ALIKE for name in first)


def alike(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """The share of entries that are alike, 0 for another shape.

    Numbers of a measure (floats) are alike within ``TOLERANCE`` of their range; what is no number is like nothing else. Names of things
    (integers) are alike when equal, and along a short last axis in any order: the tenth best class may well change places with the
    ninth.
    """
    if first.shape != second.shape:
        return 0.0
    if not first.size:
        return 1.0
    if np.issubdtype(first.dtype, np.floating):
        return _floats(first.astype(np.float64), second.astype(np.float64))
    if first.ndim and first.shape[-1] <= _SHORT:
        return float((first[..., :, None] == second[..., None, :]).any(-1).mean())
    return float((first == second).mean())


def _floats(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    known = first[np.isfinite(first)]
    room = TOLERANCE * float(known.max() - known.min()) if known.size else 0.0
    with np.errstate(invalid="ignore"):
        near = np.abs(first - second) <= max(room, TOLERANCE * 1e-3)
    return float((near | (first == second) | (np.isnan(first) & np.isnan(second))).mean())

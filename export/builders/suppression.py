"""Greedy non-maximum suppression in numpy: the reference for what the graphs do with an operator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def greedy(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    kinds: NDArray[np.intp],
    *,
    floor: float,
    iou: float,
) -> list[int]:
    """Return the indices of the surviving boxes, best first.

    boxes [s, 4] are corners x0, y0, x1, y1; a box survives when its score exceeds `floor` and it overlaps no better
    survivor of its kind by more than `iou`.
    """
    survivors: list[int] = []
    for candidate in np.argsort(-scores, kind="stable"):
        if scores[candidate] <= floor:
            break
        rivals = [s for s in survivors if kinds[s] == kinds[candidate]]
        if not rivals or overlap(boxes[candidate], boxes[rivals]).max() <= iou:
            survivors.append(int(candidate))
    return survivors


def overlap(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of one box [4] with others [n, 4]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    union = np.prod(box[2:] - box[:2]) + areas - shared
    return np.asarray(shared / np.maximum(union, np.float32(1e-12)), dtype=np.float32)

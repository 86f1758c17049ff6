"""Similarity vectors: how alike the two versions' are. Nothing else is known of them, so there is no truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from orchestrator.comparing.answers import Answer, Both
from orchestrator.comparing.differences import Bar, Difference, Side
from orchestrator.comparing.measures import Measure, Measures, mean
from orchestrator.comparing.truth import Truth

ALIKE = 0.98  # cosine below which a segment is worth a look


def accuracy(judged: Sequence[tuple[Answer, Truth]]) -> Measures:
    """None."""
    return {}


def agreement(both: Sequence[Both]) -> Measures:
    """Mean and lowest cosine of the versions' vectors of one segment."""
    cosines = [each for pair in both for _, each in _cosines(pair)]
    return {"mean cosine": mean(cosines), "lowest cosine": Measure(min(cosines, default=None), len(cosines))}


def differences(pair: Both) -> Iterator[Difference]:
    """Segments with a cosine below ``ALIKE``; ``size``: what is missing to 1."""
    for frame, each in _cosines(pair):
        if each < ALIKE:
            side = Side(bars=(Bar("cosine of A and B", max(0.0, each), alone=True),))
            yield Difference("similarity", pair.clip, frame, 1 - each, f"cosine {each:.3f}", side, side)


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two vectors, -1..1; 0 where one is zero, or they are of different lengths."""
    if len(a) != len(b):
        return 0.0
    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.clip(one @ other / norms, -1.0, 1.0)) if norms else 0.0


def _cosines(pair: Both) -> Iterator[tuple[int, float]]:
    for a, b in pair.segments:
        if a.vector is not None and b.vector is not None:
            yield a.frame, cosine(a.vector, b.vector)

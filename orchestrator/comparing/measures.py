"""Numbers that say how good an answer is, or how alike two are, and the pairing that they rest on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.core.boxes import iou
from orchestrator.core.results import Box

A = TypeVar("A")
B = TypeVar("B")

SAME_PLACE = 0.5  # IoU from which two boxes show one thing, as in COCO and Pascal VOC


@dataclass(frozen=True, slots=True)
class Measure:
    """A number over ``of`` observations; ``value`` is ``None`` where there were none. ``rising``: more is better."""

    value: float | None
    of: int
    rising: bool = True


Measures = Mapping[str, Measure]
"""By name, in the order in which they are shown."""


def ratio(part: float, whole: float, of: int | None = None, *, rising: bool = True) -> Measure:
    """``part`` of ``whole``; without a whole it has no value."""
    return Measure(part / whole if whole else None, round(whole) if of is None else of, rising)


def alike(part: float, whole: float, of: int | None = None) -> Measure:
    """As ``ratio``, but two answers that both hold nothing are alike: 1.0 of no observations."""
    return Measure(part / whole if whole else 1.0, round(whole) if of is None else of)


def mean(values: Sequence[float], *, rising: bool = True) -> Measure:
    """The mean of ``values``."""
    return ratio(sum(values), len(values), rising=rising)


def retrieval(hits: int, found: int, wanted: int) -> dict[str, Measure]:
    """Precision, recall and F1."""
    return {
        "precision": ratio(hits, found),
        "recall": ratio(hits, wanted),
        "F1": ratio(2 * hits, found + wanted, of=wanted),
    }


def paired(a: Sequence[A], b: Sequence[B], likeness: Callable[[A, B], float], least: float) -> list[tuple[int, int]]:
    """Positions in ``a`` and ``b`` that belong together: the most alike first, each at most once, none below ``least``."""
    scored = [(likeness(one, other), i, j) for i, one in enumerate(a) for j, other in enumerate(b)]
    pairs: list[tuple[int, int]] = []
    used_a: set[int] = set()
    used_b: set[int] = set()
    for score, i, j in sorted(scored, key=lambda item: (-item[0], item[1], item[2])):
        if score >= least and i not in used_a and j not in used_b:
            pairs.append((i, j))
            used_a.add(i)
            used_b.add(j)
    return sorted(pairs)


def same_place(a: Sequence[Box], b: Sequence[Box], least: float = SAME_PLACE) -> list[tuple[int, int]]:
    """Boxes that show one thing."""
    return paired(a, b, iou, least)

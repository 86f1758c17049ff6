"""How far one version's answers are from another's, by measures that fit what the model says. Pure numpy.

Both sides are outputs by name, batch by batch, to the same inputs. Measures named in a spec's floors are agreements: 1 is
the same, and less is worse. The others are errors, for the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.spec import Measure

Outputs = Mapping[str, NDArray[Any]]
Batches = Sequence[Outputs]
STRONG = 0.5
"""Boxes and cuts with at least this score count."""
_NEAR = 0.5
"""Intersection over union from which on two boxes are one."""
_TEXT = 0.3 * 255
"""Level of the probability map from which on a pixel belongs to text."""
_BLANK = 0


@dataclass(frozen=True)
class Accuracy:
    """What was measured on `rows` held-out inputs, and the least that was allowed."""

    measure: Measure
    rows: int
    values: dict[str, float]
    floors: dict[str, float]


def agreement(measure: Measure, got: Batches, wanted: Batches) -> dict[str, float]:
    """Return the measures of one kind of model; `wanted` are the answers of the version that is compared with."""
    return {name: float(value) for name, value in _MEASURES[measure](got, wanted).items()}


def f1(right: float, found: float, there: float) -> float:
    """The harmonic mean of precision and recall; 1 where there is nothing and nothing was found."""
    return 2 * right / (found + there) if found + there else 1.0


def cosines(got: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float64]:
    """Row by row of two [n, d]."""
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(lengths, 1e-12))


def overlaps(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of every box (x0, y0, x1, y1) of `a` [n, 4] with every one of `b` [m, 4]: [n, m]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (a, b))
    return np.asarray(shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-12), np.float64)


def collapsed(indices: NDArray[Any]) -> list[int]:
    """What CTC steps spell: repeats are one, blanks are none."""
    before = np.concatenate([[_BLANK], indices[:-1]])
    return [int(i) for i in indices[(indices != before) & (indices != _BLANK)]]


def edits(a: Sequence[int], b: Sequence[int]) -> int:
    """Insertions, deletions and replacements that turn `a` into `b` (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def _rows(got: Batches, wanted: Batches) -> Iterator[tuple[Outputs, Outputs]]:
    for g, w in zip(got, wanted, strict=True):
        for row in range(len(next(iter(w.values())))):
            yield {k: v[row] for k, v in g.items()}, {k: v[row] for k, v in w.items()}


def _joined(name: str, *sides: Batches) -> list[NDArray[Any]]:
    return [np.concatenate([batch[name] for batch in side]) for side in sides]


def _classes(got: Batches, wanted: Batches) -> dict[str, Any]:
    """Of the `k` best classes: is the best one the same, and how sure is it; and the image's vector."""
    errors, same = [], []
    for g, w in _rows(got, wanted):
        same.append(g["classes"][0] == w["classes"][0])
        again = np.flatnonzero(g["classes"] == w["classes"][0])
        errors.append(abs(w["scores"][0] - (g["scores"][again[0]] if len(again) else 0.0)))
    return {"top1": np.mean(same), "score_error": np.mean(errors), **_vector(got, wanted)}


def _scores(got: Batches, wanted: Batches) -> dict[str, Any]:
    """One score for every class."""
    g, w = _joined("scores", got, wanted)
    errors = np.abs(g - w)
    return {"top1": np.mean(g.argmax(1) == w.argmax(1)), "score_error": errors.mean(), "score_error_most": errors.max()}


def _boxes(got: Batches, wanted: Batches) -> dict[str, Any]:
    """Strong boxes of one class are paired, the nearest first. One that the other side has, but weaker, is no miss."""
    right = found = there = 0
    near, errors = [], []
    for g, w in _rows(got, wanted):
        overlap = overlaps(g["boxes"], w["boxes"])
        if "classes" in w:
            overlap = overlap * (g["classes"][:, None] == w["classes"][None])
        strong_g, strong_w = g["scores"] >= STRONG, w["scores"] >= STRONG
        overlap *= strong_g[:, None] | strong_w[None]
        paired_g: set[int] = set()
        paired_w: set[int] = set()
        for place in np.argsort(-overlap, axis=None, kind="stable"):
            i, j = divmod(int(place), overlap.shape[1])
            if overlap[i, j] < _NEAR:
                break
            if i not in paired_g and j not in paired_w:
                paired_g.add(i)
                paired_w.add(j)
                near.append(overlap[i, j])
                errors.append(abs(g["scores"][i] - w["scores"][j]))
        right += len(paired_g)
        found += len(paired_g | set(np.flatnonzero(strong_g).tolist()))
        there += len(paired_w | set(np.flatnonzero(strong_w).tolist()))
    return {"f1": f1(right, found, there), "iou": np.mean(near or [1.0]), "score_error": np.mean(errors or [0.0])}


def _map(got: Batches, wanted: Batches) -> dict[str, Any]:
    """Pixels of text, and the levels themselves as shares of 1."""
    g, w = _joined("probability", got, wanted)
    text_g, text_w = g >= _TEXT, w >= _TEXT
    error = np.abs(g.astype(np.float64) - w).mean() / 255
    return {"f1": f1((text_g & text_w).sum(), text_g.sum(), text_w.sum()), "error": error}


def _text(got: Batches, wanted: Batches) -> dict[str, Any]:
    """Lines that read the same, and the share of characters that need no edit."""
    pairs = [(collapsed(g["indices"]), collapsed(w["indices"])) for g, w in _rows(got, wanted)]
    wrong, characters = sum(edits(g, w) for g, w in pairs), sum(len(w) for _, w in pairs)
    return {"equal": np.mean([g == w for g, w in pairs]), "characters": 1 - wrong / max(1, characters)}


def _cuts(got: Batches, wanted: Batches) -> dict[str, Any]:
    """Frames that end a shot, and the scores of every frame."""
    right = found = there = 0
    errors = []
    for g, w in _rows(got, wanted):
        cut_g, cut_w = g["cut"] >= STRONG, w["cut"] >= STRONG
        right, found, there = right + (cut_g & cut_w).sum(), found + cut_g.sum(), there + cut_w.sum()
        errors.append(np.abs(g["cut"] - w["cut"]))
    error = np.concatenate(errors)
    return {"f1": f1(right, found, there), "score_error": error.mean(), "score_error_most": error.max()}


def _vector(got: Batches, wanted: Batches) -> dict[str, Any]:
    near = cosines(*_joined("vector", got, wanted))
    return {"cosine": near.mean(), "cosine_least": near.min()}


_MEASURES: dict[Measure, Callable[[Batches, Batches], dict[str, Any]]] = {
    "classes": _classes,
    "scores": _scores,
    "boxes": _boxes,
    "map": _map,
    "text": _text,
    "cuts": _cuts,
    "vector": _vector,
}

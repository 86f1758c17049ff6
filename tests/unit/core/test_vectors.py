"""The nearest vectors are those of an exhaustive comparison, whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.core import vectors
from orchestrator.core.vectors import Floats, VectorIndex

DIMS = 96


def unit(values: NDArray[np.floating]) -> Floats:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def data(kind: str, count: int = 3000) -> Floats:
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(count, DIMS))
    if kind == "scattered":  # nothing that axes could gather
        return unit(noise)
    if kind == "clustered":  # twenty scenes and their variations, all positive as image features are
        return unit(np.abs(rng.gamma(0.5, size=(20, DIMS))[rng.integers(20, size=count)] + 0.05 * noise))
    if kind == "near duplicates":
        return unit(noise[:30][rng.integers(30, size=count)] + 1e-4 * noise)
    return unit(np.repeat(noise[: count // 100], 100, axis=0))  # equal ones


def exhaustive(rows: NDArray[np.int64], stored: Floats, query: Floats, count: int) -> list[int]:
    cosines = stored @ query
    return rows[np.lexsort((-rows, -cosines))[:count]].tolist()


@pytest.mark.parametrize("kind", ["scattered", "clustered", "near duplicates", "equal"])
@pytest.mark.parametrize("axes", [4, 64])
def test_recall_is_one(kind: str, axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "AXES", axes)
    stored = data(kind)
    rows = np.random.default_rng(1).permutation(len(stored)).astype(np.int64) * 3
    by_row = dict(zip(rows.tolist(), stored, strict=True))
    index = VectorIndex(DIMS)
    for at in range(0, len(rows), 700):  # fitted at one size, grown to another
        index.add(rows[at : at + 700], stored[at : at + 700])
    allowed = np.random.default_rng(2).random(len(rows)) < 0.3
    for query in (*stored[:10], *unit(np.random.default_rng(3).normal(size=(5, DIMS)))):
        fetched: list[int] = []

        def fetch(wanted: NDArray[np.int64], fetched: list[int] = fetched) -> Floats:
            fetched.append(len(wanted))
            return np.stack([by_row[row] for row in wanted.tolist()])

        found, cosines = index.nearest(query, 20, fetch)
        assert np.allclose(cosines, np.stack([by_row[row] for row in found.tolist()]) @ query, atol=1e-6)
        wanted = exhaustive(rows, stored, query, 20)
        assert_same(found.tolist(), wanted, by_row, query)
        if kind == "scattered":
            assert fetched[0] < 100  # the bounds rule nearly all of them out
        found, _ = index.nearest(query, 20, fetch, allowed)
        assert_same(found.tolist(), exhaustive(rows[allowed], stored[allowed], query, 20), by_row, query)


def assert_same(found: list[int], wanted: list[int], by_row: dict[int, Floats], query: Floats) -> None:
    """The same rows; where cosines are equal to the last bits, which of them comes first depends on the order of sums."""
    if found != wanted:
        cosines = [[float(by_row[row].astype(np.float64) @ query) for row in rows] for rows in (found, wanted)]
        assert np.allclose(*cosines, atol=3e-7, rtol=0), set(found) ^ set(wanted)


def test_a_bound_that_is_too_low_would_lose_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the part outside the axes, the bounds lie."""
    monkeypatch.setattr(vectors, "AXES", 4)
    stored = data("scattered")
    index = VectorIndex(DIMS)
    index.add(np.arange(len(stored), dtype=np.int64), stored)
    index.prepare()
    index._rest[::2] = 0
    lost = 0
    for query in stored[:20]:
        found, _ = index.nearest(query, 20, lambda rows: stored[rows])
        lost += len(set(exhaustive(np.arange(len(stored)), stored, query, 20)) - set(found.tolist()))
    assert lost > 0


def test_few_vectors_and_none() -> None:
    index = VectorIndex(3)
    query = np.array([1, 0, 0], np.float32)
    assert index.nearest(query, 5, lambda rows: np.empty((len(rows), 3), np.float32))[0].tolist() == []
    stored = unit(np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0.0]]))
    index.add(np.array([7, 3, 5], np.int64), stored)
    found, cosines = index.nearest(query, 2, lambda rows: np.stack([stored[[7, 3, 5].index(r)] for r in rows]))
    assert found.tolist() == [7, 5]
    assert cosines[0] == 1
    nothing = np.zeros(3, np.bool_)
    assert len(index.nearest(query, 2, lambda rows: np.empty((len(rows), 3), np.float32), nothing)[0]) == 0


def test_other_shapes_are_refused() -> None:
    index = VectorIndex(3)
    with pytest.raises(ValueError, match="3 dimensions"):
        index.add(np.array([1], np.int64), np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match="3 dimensions"):
        index.nearest(np.ones(4, np.float32), 1, lambda rows: np.empty((0, 3), np.float32))
    with pytest.raises(ValueError, match="one dimension"):
        VectorIndex(0)

"""The nearest of many unit vectors, exactly, in a fraction of the time and memory of comparing each in full. Pure.

Every vector is kept with its coordinates rounded to their upper 16 bits (bfloat16, which numpy widens four times as
fast as float16), and beside it its first coordinates in a basis fitted to the data (its principal axes).

With ``v = p + r``, ``p`` in the span of those axes and ``r`` orthogonal to it, ``q . v`` differs from ``q_p . v_p`` by
at most ``|q_r| |v_r|`` (Cauchy-Schwarz), and the product with the rounded vector from the true one by at most the
length of what rounding took. So only those whose bound reaches the k-th best are compared in full, in float32, and
the answer is that of an exhaustive comparison, whatever the basis: a bad one costs time, never a neighbour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

S = TypeVar("S", bound=np.generic)
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Halves = NDArray[np.uint16]
Fetch = Callable[[Rows], Floats]
"""Row numbers -> their vectors as they were added."""

AXES = 128  # coordinates compared first: 512 bytes a vector
FIT_AT = 1000  # vectors; fewer are compared in full
FIT_AGAIN = 4  # times as many as when the basis was fitted
_SAMPLE = 4096
_BLOCK = 128  # vectors widened at once: they fit the caches
_PROJECTED = 4096  # vectors projected at once
_SLACK = np.float32(2e-5)  # of float32 sums
_SQUARES = np.float32(2e-6)  # of differences of squares


class VectorIndex:
    """Unit vectors by row number; one caller at a time."""

    def __init__(self, dims: int) -> None:
        if dims < 1:
            raise ValueError(f"a vector has at least one dimension, got {dims}")
        self.dims = dims
        self._size = 0
        self._rows: Rows = np.empty(0, np.int64)
        self._half: Halves = np.empty((0, dims), np.uint16)
        self._lost: Floats = np.empty(0, np.float32)  # length of what rounding took
        self._near: Floats = np.empty((0, 0), np.float32)
        self._rest: Floats = np.empty(0, np.float32)  # length of what lies outside the axes
        self._basis: Floats | None = None
        self._fitted_at = self._projected = 0

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> Rows:
        """The rows, in the order in which they were added."""
        return self._rows[: self._size]

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Add ``vectors`` [n, dims] by rows that are not there yet."""
        if vectors.shape != (len(rows), self.dims):
            raise ValueError(f"{len(rows)} rows of {self.dims} dimensions, got the shape {vectors.shape}")
        first, self._size = self._size, self._size + len(rows)
        self._grow()
        here = slice(first, self._size)
        self._rows[here] = rows
        self._half[here] = _rounded(vectors)
        self._lost[here] = np.linalg.norm(vectors - _widened(self._half[here]), axis=1)

    def nearest(
        self, query: Floats, count: int, fetch: Fetch, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Rows, Floats]:
        """The ``count`` rows with the largest cosine to the unit vector ``query``, and the cosines, largest first; the
        higher row among equals. ``allowed`` [n], in the order of ``rows``, says which may be among them."""
        if query.shape != (self.dims,):
            raise ValueError(f"a query of {self.dims} dimensions, got the shape {query.shape}")
        self.prepare()
        places = self._candidates(query, count, allowed)
        rows = self._rows[places]
        cosines = _products(fetch(rows), query)
        order = np.lexsort((-rows, -cosines))[:count]
        return rows[order], cosines[order]

    def _candidates(self, query: Floats, count: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.intp]:
        """Places that may hold one of the ``count`` best: all that cannot be ruled out."""
        bound = self._upper_bounds(query)
        places = np.arange(self._size) if allowed is None else np.flatnonzero(allowed)
        if len(places) <= count:
            return places
        if bound is not None:
            first = places[np.argpartition(-bound[places], count - 1)[: 2 * count]]
            least = _kth(self._in_half(first, query) - self._lost[first], count)
            places = places[bound[places] >= least - _SLACK]
        cosines = self._in_half(places, query)
        least = _kth(cosines - self._lost[places], count)
        return places[cosines + self._lost[places] >= least - _SLACK]

    def _upper_bounds(self, query: Floats) -> Floats | None:
        if self._basis is None:
            return None
        part = _products(self._basis, query)
        rest = np.float32(np.sqrt(max(0.0, float(query @ query - part @ part)) + _SQUARES))
        here = slice(0, self._size)
        return _products(self._near[here], part) + rest * self._rest[here] + self._lost[here]

    def _in_half(self, places: NDArray[np.intp], query: Floats) -> Floats:
        cosines = np.empty(len(places), np.float32)
        for at in range(0, len(places), _BLOCK):
            here = places[at : at + _BLOCK]
            cosines[at : at + _BLOCK] = _products(_widened(self._half[here]), query)
        return cosines

    def prepare(self) -> None:
        """Project what was added since, and fit the basis once there are so many more vectors that it may be a poor one:
        what the next ``nearest`` would do first."""
        if self._size >= max(FIT_AT, FIT_AGAIN * self._fitted_at):
            self._fit()
            self._projected = 0
        if self._basis is not None:
            for at in range(self._projected, self._size, _PROJECTED):
                self._project(slice(at, min(at + _PROJECTED, self._size)))
            self._projected = self._size

    def _fit(self) -> None:
        """Take the axes along which a sample has most of its length."""
        step = max(1, self._size // _SAMPLE)
        sample = _widened(self._half[: self._size : step])
        _, axes = np.linalg.eigh(sample.T @ sample)
        self._basis = np.ascontiguousarray(axes[:, ::-1][:, :AXES].T)
        self._fitted_at = self._size
        self._near = np.empty((len(self._rows), len(self._basis)), np.float32)
        self._rest = np.empty(len(self._rows), np.float32)

    def _project(self, here: slice) -> None:
        assert self._basis is not None
        vectors = _widened(self._half[here])
        near = vectors @ self._basis.T
        squares = np.einsum("nd,nd->n", vectors, vectors) - np.einsum("nd,nd->n", near, near)
        self._near[here], self._rest[here] = near, np.sqrt(np.maximum(0.0, squares) + _SQUARES)

    def _grow(self) -> None:
        room = len(self._rows)
        if self._size <= room:
            return
        room = max(self._size, 2 * room, 1024)  # memory that is not written to costs nothing
        self._rows, self._half = _wider(self._rows, room), _wider(self._half, room)
        self._lost, self._rest = _wider(self._lost, room), _wider(self._rest, room)
        self._near = _wider(self._near, room)


def _products(vectors: Floats, query: Floats) -> Floats:
    """Inner products, without the BLAS: its threads would spin beside those of decoders."""
    found: Floats = np.einsum("nd,d->n", vectors, query)
    return found


def _rounded(vectors: Floats) -> Halves:
    """The upper halves of the float32s, to nearest even."""
    bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _widened(halves: Halves) -> Floats:
    bits = halves.astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def _kth(values: Floats, count: int) -> np.float32:
    return np.float32(-np.partition(-values, count - 1)[count - 1])


def _wider(array: NDArray[S], room: int) -> NDArray[S]:
    wide = np.empty((room, *array.shape[1:]), array.dtype)
    wide[: len(array)] = array
    return wide

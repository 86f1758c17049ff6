"""golden.npz: a few batches and what the exported file answered to them, by which a server checks a version before it serves it.

Its arrays are ``in/<n>/<tensor>`` and ``out/<n>/<tensor>`` for n = 0, 1, ..., each with the batch dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.spec import Evaluate, ModelSpec

ROWS = 2
"""Rows of a batch: as many as a server computes at once on a CPU, so that its answers are the same to the bit there."""
_MOST_BATCHES = 6
_MOST_BYTES = 4 << 20
"""Of all inputs, before they are compressed; the first batch is taken however large it is."""


@dataclass(frozen=True)
class Golden:
    """One batch and its answers, by tensor."""

    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


def chosen(batches: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return batches of at most ROWS rows from all over `batches`: as many as the limits of number and size allow."""
    parts = [batch[start : start + ROWS] for batch in batches for start in range(0, len(batch), ROWS)]
    largest = max(part.nbytes for part in parts)
    count = min(_MOST_BATCHES, max(1, _MOST_BYTES // largest), len(parts))
    return [parts[place * len(parts) // count] for place in range(count)]


def tolerances(
    spec: ModelSpec, evaluate: Evaluate, plain: Evaluate, batches: Sequence[NDArray[Any]]
) -> dict[str, float]:
    """Return how far another machine's answers may lie from ours, by output: at least what the spec allows.

    Between bytes or half floats a difference in the last bit can become one of a whole step. How much that comes to shows
    between the file as it is and `plain`, the same without ONNX Runtime's optimisations; twice that is allowed. Indices
    that change already then are compared no more.
    """
    spread = {output.name: 0.0 for output in spec.outputs}
    for batch in batches:
        ours, theirs = evaluate(batch), plain(batch)
        for name in spread:
            difference = np.abs(ours[name].astype(np.float64) - theirs[name].astype(np.float64))
            spread[name] = max(spread[name], float(difference.max(initial=0.0)))
    stable = [o for o in spec.outputs if o.dtype != "INT32" or not spread[o.name]]
    return {o.name: max(o.tolerance, 2 * spread[o.name]) for o in stable}


def write(path: Path, spec: ModelSpec, evaluate: Evaluate, batches: Sequence[NDArray[Any]]) -> None:
    """Ask the exported file and keep what it answers."""
    (only,) = spec.inputs
    arrays: dict[str, NDArray[Any]] = {}
    for number, batch in enumerate(batches):
        arrays[f"in/{number}/{only.name}"] = batch
        arrays |= {f"out/{number}/{name}": answer for name, answer in evaluate(batch).items()}
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its stub takes a flag for the arrays' names


def read(path: Path) -> list[Golden]:
    """Return the batches in order. Raises OSError, ValueError or KeyError for another file than `write` makes."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    found: dict[int, Golden] = {}
    for key, array in arrays.items():
        side, number, tensor = key.split("/")
        batch = found.setdefault(int(number), Golden({}, {}))
        {"in": batch.inputs, "out": batch.outputs}[side][tensor] = array
    return [found[number] for number in range(len(found))]

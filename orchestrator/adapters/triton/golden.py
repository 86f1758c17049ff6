"""The golden batches of a version: inputs, and the answers that the exported file gave to them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.adapters.triton.contract import ModelContract
from orchestrator.adapters.triton.repository import Repository
from orchestrator.adapters.triton.transport import Call
from orchestrator.errors import FilesRefused
from orchestrator.ports import Outputs

Arrays = Mapping[str, NDArray[np.generic]]
Request = tuple[Call, Arrays]
"""What is asked, and what it should be answered."""
_ROOM = 2  # times what a golden answer took: one that is too large is a wrong answer, and not an error


@dataclass(frozen=True, slots=True)
class Golden:
    """One batch. Where the model has a batch dimension, all arrays have as many rows as matter."""

    inputs: Arrays
    outputs: Arrays

    def calls(self, contract: ModelContract) -> Sequence[Request]:
        """As requests of ``contract``: more than one where the model takes fewer rows at a time. Raises ``ValueError`` for arrays that it
        does not take."""
        if not contract.max_batch:
            return [(self._call(contract, self.inputs, None), self.outputs)]
        rows = len(next(iter(self.inputs.values())))
        made = []
        for start in range(0, rows, contract.max_batch):
            part = slice(start, min(rows, start + contract.max_batch))
            inputs = {name: _whole(array[part], contract.max_batch) for name, array in self.inputs.items()}
            expected = {name: array[part] for name, array in self.outputs.items()}
            made.append((self._call(contract, inputs, part.stop - part.start), expected))
        return made

    def _call(self, contract: ModelContract, inputs: Arrays, rows: int | None) -> Call:
        dims = {name: array.shape[1:] if contract.max_batch else array.shape for name, array in self.outputs.items()}
        room = {
            name: tuple(size * _ROOM if own < 0 else own for size, own in zip(dims[name], spec.dims, strict=True))
            for name, spec in contract.outputs.items()
        }
        return Call.check(contract, inputs, output_dims=room, rows=rows)


def read(repository: Repository, model: str, version: int) -> tuple[Sequence[Golden], Mapping[str, float]]:
    """The batches of ``version``, and the largest error that each output may have; none where its manifest, an old one, names no
    file. Raises ``FilesRefused``."""
    manifest = repository.manifest(model, version) or {}
    named = manifest.get("golden")
    if named is None:
        return (), {}
    try:
        batches = _batches(repository.folder(model, version) / str(named["file"]))
        return batches, {str(name): float(value) for name, value in named["tolerances"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FilesRefused(f"the golden answers of {model} version {version} cannot be read", model=model) from error


def worst(call: Call, expected: Arrays, answer: Outputs, tolerances: Mapping[str, float]) -> Mapping[str, float]:
    """The largest error of each output over its tolerance (for one without, only the shape counts): above 1 is too much. Another shape, and
    what is not a number where one was, is infinitely wrong. Rows of a batch past the expected ones do not matter."""
    found = {}
    for name, array in expected.items():
        ours = answer.get(name)
        if ours is not None and call.contract.max_batch:
            ours = ours[: len(array)]
        found[name] = _error(array, ours, tolerances.get(name, math.inf))
    return found


def _error(expected: NDArray[np.generic], ours: NDArray[np.generic] | None, tolerance: float) -> float:
    if ours is None or ours.shape != expected.shape:
        return math.inf
    if np.array_equal(ours, expected):
        return 0.0
    error = float(np.abs(ours.astype(np.float64) - expected.astype(np.float64)).max())
    return error / tolerance if tolerance > 0 and math.isfinite(error) else math.inf


def _batches(path: Path) -> Sequence[Golden]:
    """Arrays are named ``in/N/TENSOR`` and ``out/N/TENSOR``."""
    found: dict[int, dict[str, dict[str, Any]]] = defaultdict(lambda: {"in": {}, "out": {}})
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            side, number, tensor = key.split("/", 2)
            found[int(number)][side][tensor] = arrays[key]
    batches = [Golden(found[number]["in"], found[number]["out"]) for number in sorted(found)]
    if not batches or not all(batch.inputs and batch.outputs for batch in batches):
        raise ValueError("a golden batch has inputs and answers")
    return batches


def _whole(array: NDArray[np.generic], rows: int) -> NDArray[np.generic]:
    """With as many rows as a request's arrays have room for."""
    return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])

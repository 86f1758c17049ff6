"""Parity: the exported graph against its reference, with failures that say what differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.errors import OutputsMismatch, ShapeMismatch, ToleranceExceeded
from export.parity import OutputParity, Parity
from export.spec import Evaluate, ModelSpec, TensorSpec

NUMPY_TYPES: dict[str, type[np.generic]] = {"UINT8": np.uint8, "INT32": np.int32, "FP32": np.float32}
Outputs = dict[str, NDArray[Any]]


def session(model: Path, threads: int = 1, optimised: bool = True) -> ort.InferenceSession:
    """Open a model as the server does: on the CPU, `threads` threads, nothing spinning. `optimised`: as a server has it."""
    options = ort.SessionOptions()
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def evaluate_with(opened: ort.InferenceSession) -> Evaluate:
    """Return the evaluation of an opened model with one input."""
    names = [o.name for o in opened.get_outputs()]
    (only,) = (i.name for i in opened.get_inputs())

    def evaluate(batch: NDArray[Any]) -> Outputs:
        return dict(zip(names, opened.run(names, {only: batch}), strict=True))

    return evaluate


def evaluator(model: Path, optimised: bool = True) -> Evaluate:
    """Return the evaluation of a model file with one input."""
    return evaluate_with(session(model, optimised=optimised))


def compare(spec: ModelSpec, actual: Evaluate, expected: Evaluate, batches: Sequence[NDArray[Any]]) -> list[float]:
    """Return the largest absolute difference of every output over all batches, in the spec's order.

    Raises:
        OutputsMismatch, ShapeMismatch, ToleranceExceeded: the first difference that the spec does not allow.
    """
    worst = [0.0] * len(spec.outputs)
    for batch in batches:
        got, wanted = actual(batch), expected(batch)
        declared = {o.name for o in spec.outputs}
        if set(got) != declared or set(wanted) != declared:
            raise OutputsMismatch(
                f"{spec.name}: declared {sorted(declared)}, graph {sorted(got)}, reference {sorted(wanted)}"
            )
        for position, output in enumerate(spec.outputs):
            worst[position] = max(worst[position], _difference(spec, output, got[output.name], wanted[output.name]))
    return worst


def _difference(spec: ModelSpec, output: TensorSpec, got: NDArray[Any], wanted: NDArray[Any]) -> float:
    where = f"{spec.name}.{output.name}"
    rows, dims = got.shape[0], got.shape[1:]
    fits = len(dims) == len(output.dims) and all(d in (-1, n) for d, n in zip(output.dims, dims, strict=True))
    if not fits or got.shape != wanted.shape or got.dtype != NUMPY_TYPES[output.dtype]:
        raise ShapeMismatch(
            f"{where}: graph {got.dtype}{list(got.shape)}, reference {list(wanted.shape)}, "
            f"declared {output.dtype}{[rows, *output.dims]}"
        )
    error = float(np.max(np.abs(got.astype(np.float64) - wanted.astype(np.float64)), initial=0.0))
    if not error <= output.tolerance:  # also true for NaN
        raise ToleranceExceeded(f"{where}: differs by {error:.3g}, the tolerance is {output.tolerance:.3g}")
    return error


def verify(spec: ModelSpec, model: Path, reference: Evaluate, batches: Sequence[NDArray[Any]], method: str) -> Parity:
    """Compare a model file with its reference; return what was measured or raise a ParityError."""
    worst = compare(spec, evaluator(model), reference, batches)
    outputs = tuple(OutputParity(o.name, e, o.tolerance) for o, e in zip(spec.outputs, worst, strict=True))
    return Parity(method, sum(len(b) for b in batches), outputs)

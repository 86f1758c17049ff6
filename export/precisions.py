"""What each precision costs on this machine's CPU and how near it stays to fp32: `python -m export precisions`.

Every model is lowered to every precision, also to those that it is not offered at: the table is what that is decided by.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from export.accuracy import agreement
from export.building import builder_of
from export.fp16 import halved
from export.int8 import quantised
from export.simplify import simplified
from export.spec import Evaluate, Int8, ModelSpec, Precision
from export.verify import evaluator
from export.weights import sources

_BATCHES, _ROUNDS = 6, 5


@dataclass(frozen=True)
class Row:
    """One model at one precision."""

    model: str
    precision: Precision
    cpu_ms: float
    """CPU time per row on one thread, the fastest of some rounds."""
    nbytes: int
    values: dict[str, float]
    """Agreement with fp32 and errors, on held-out frames; see `export.accuracy`."""


def measured(spec: ModelSpec) -> Iterator[Row]:
    """Build a model at fp32, int8 and fp16, and measure each."""
    builder = builder_of(spec)
    with sources(spec, None) as files, tempfile.TemporaryDirectory(prefix="reelsift-precisions-") as folder:
        samples = builder.samples(files)
        full = simplified(builder.build(files))
        wanted: list[dict[str, NDArray[Any]]] = []
        precisions: tuple[Precision, ...] = ("fp32", "int8", "fp16")
        for precision in precisions:
            model = full
            if precision != "fp32":
                how = spec.int8 or Int8()
                model = halved(full) if precision == "fp16" else quantised(full, samples.calibration, how)
            path = Path(folder) / f"{precision}.onnx"
            onnx.save(model, path)
            evaluate = evaluator(path)
            answers = [evaluate(batch) for batch in samples.held_out]
            wanted = wanted or answers
            values = agreement(spec.agreement.measure, answers, wanted)
            cost = _cpu_ms(evaluate, samples.held_out[:_BATCHES])
            yield Row(spec.name, precision, cost, path.stat().st_size, values)


def _cpu_ms(evaluate: Evaluate, batches: Sequence[NDArray[Any]]) -> float:
    rounds = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        for batch in batches:
            evaluate(batch)
        rounds.append(time.process_time() - started)
    return min(rounds) * 1000 / sum(map(len, batches))


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table; speed is against fp32 of the same model."""
    full = {row.model: row.cpu_ms for row in rows if row.precision == "fp32"}
    lines = ["| model | precision | CPU ms a row | speed | MB | against fp32 |", "|---|---|---|---|---|---|"]
    for row in rows:
        said = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.values.items())
        lines.append(
            f"| {row.model} | {row.precision} | {row.cpu_ms:.3g} | {full[row.model] / row.cpu_ms:.2f} "
            f"| {row.nbytes / 1e6:.1f} | {said if row.precision != 'fp32' else ''} |"
        )
    return "\n".join(lines)

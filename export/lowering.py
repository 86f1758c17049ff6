"""Lower the precision of a built graph, and judge what that did to its answers on real frames that it has not seen."""

from __future__ import annotations

from pathlib import Path

import onnx

from export import accuracy
from export.accuracy import Accuracy
from export.errors import AccuracyTooLow, BuildError
from export.fp16 import halved
from export.int8 import quantised
from export.samples import Samples
from export.simplify import interface
from export.variant import Variant
from export.verify import evaluator


def lowered(model: onnx.ModelProto, variant: Variant, samples: Samples) -> onnx.ModelProto:
    """Return the graph at the variant's precision, fp16 or int8; BuildError when its inputs or outputs changed."""
    how = variant.spec.int8
    made = halved(model) if how is None or variant.precision == "fp16" else quantised(model, samples.calibration, how)
    if interface(made) != interface(model):
        raise BuildError(f"{variant}: the interface changed from {interface(model)} to {interface(made)}")
    return made


def compared(variant: Variant, model: Path, full: Path, samples: Samples) -> Accuracy:
    """Measure a file's answers on the held-out batches against those of the same network at full precision."""
    spec = variant.spec
    answers = [[evaluate(b) for b in samples.held_out] for evaluate in (evaluator(model), evaluator(full))]
    values = accuracy.agreement(spec.agreement.measure, *answers)
    return Accuracy(spec.agreement.measure, sum(map(len, samples.held_out)), values, dict(spec.agreement.floors))


def judged(variant: Variant, model: Path, full: Path, samples: Samples) -> Accuracy:
    """The same. Raises AccuracyTooLow when a measure lies below its floor."""
    found = compared(variant, model, full, samples)
    below = [
        f"{n} {found.values[n]:.4f} of at least {least}"
        for n, least in found.floors.items()
        if not found.values[n] >= least
    ]
    if below:
        raise AccuracyTooLow(f"{variant}: on {found.rows} held-out inputs {', '.join(below)}")
    return found

"""Build one variant: weights -> ONNX -> parity -> golden answers -> manifest. Imports onnx, and often torch."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any, cast

import onnx

from export import golden, manifest, repository
from export.accuracy import Accuracy
from export.errors import BuildError, ExportError
from export.lowering import judged, lowered
from export.parity import Parity
from export.samples import Samples
from export.simplify import simplified
from export.spec import Files, ModelBuilder, ModelSpec, TextModelBuilder, TextModelSpec
from export.tensorrt.network import adapted
from export.tensorrt.version import Workshop
from export.variant import Variant
from export.verify import evaluator, verify
from export.versions import operators_config, replacing
from export.weights import sources


def builder_of(spec: ModelSpec) -> ModelBuilder:
    """Return the module that builds a model."""
    module: Any = importlib.import_module(spec.builder)
    return cast(ModelBuilder, module)


def build(variant: Variant, target: Path) -> None:
    """Build a variant into model_repository/NAME/VERSION, which appears in one rename after its parity has passed.

    Raises:
        ExportError: see `export.errors`.
    """
    spec, builder = variant.spec, builder_of(variant.spec)
    # What is missing is said before anything is fetched.
    workshop = Workshop.open() if variant.target == "tensorrt" else None
    with sources(spec, variant.weights) as files, replacing(target) as staging:
        model, labels = _built(variant, builder, files)
        folder = target.parent.parent
        if variant.declared is None and spec.labels and repository.has_other_labels(folder, spec, labels):
            raise BuildError(f"{variant}: its labels are not those of {spec.name}'s other versions")
        path = staging / manifest.MODEL_FILE
        onnx.save(adapted(model) if workshop else model, path)
        if isinstance(spec, TextModelSpec):
            tokenizer = cast(TextModelBuilder, builder).tokenizer(files)
            (staging / manifest.TOKENIZER_FILE).write_bytes(tokenizer)
        batches = builder.golden(files)
        parity = verify(spec, path, builder.reference(files), batches, builder.METHOD)
        tolerances = {output.name: output.tolerance for output in spec.outputs}
        kept, accuracy = golden.chosen(batches), None
        if variant.precision != "fp32":
            accuracy = _lowered(variant, path, builder.samples(files))
            tolerances = golden.tolerances(spec, evaluator(path), evaluator(path, optimised=False), kept)
        golden.write(staging / manifest.GOLDEN_FILE, spec, evaluator(path), kept)
        engines = workshop.complete(variant, staging, target) if workshop else {}
        manifest.write(staging, variant, int(target.name), parity, tolerances, accuracy, engines)
        if config := operators_config(target):
            shutil.copy2(config, staging)
        if spec.labels:
            repository.write_labels(folder, spec, labels)


def measured(variant: Variant, model: Path) -> Parity:
    """Compare a built file with its framework again; ParityError when it differs."""
    builder = builder_of(variant.spec)
    with sources(variant.spec, variant.weights) as files:
        return verify(variant.spec, model, builder.reference(files), builder.golden(files), builder.METHOD)


def _lowered(variant: Variant, path: Path, samples: Samples) -> Accuracy:
    """Replace the file by one of the variant's precision that is accurate enough."""
    full = path.with_name("full.onnx")
    path.rename(full)
    onnx.save(lowered(onnx.load(full), variant, samples), path)
    accuracy = judged(variant, path, full, samples)
    full.unlink()
    return accuracy


def _built(variant: Variant, builder: ModelBuilder, files: Files) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The graph and the labels. What a builder trips over in a user's weights is the weights' fault."""
    try:
        return simplified(builder.build(files)), builder.labels(files)
    except ExportError:
        raise
    except Exception as error:
        if variant.weights is None:
            raise
        raise BuildError(f"{variant}: the network cannot be made of these weights: {error!r}") from error

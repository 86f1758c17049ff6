"""The exported models before NVIDIA's own parser and builder, without a GPU: see `tests.support.tensorrt_rtx`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export import golden, manifest, registry, versions
from export.accelerators import taken_whole
from export.commands import export_variant
from export.errors import NetworkError
from export.fp16 import halved
from export.spec import ModelSpec
from export.tensorrt.network import adapted, refuse_unsupported
from export.variant import Variant
from export.verify import evaluator
from tests.support import tensorrt_rtx

by_model = pytest.mark.parametrize("spec", registry.SPECS, ids=lambda s: s.name)
WITH_SUPPRESSION = ("faces", "objects")
Build = Callable[..., dict[str, object]]


def exported(repository: Path, spec: ModelSpec) -> onnx.ModelProto:
    return onnx.load(versions.folder(repository, Variant(spec)) / manifest.MODEL_FILE)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Has TensorRT for RTX build a model with its plan, in a process of its own."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here: it makes the library that leads TensorRT's bindings to TensorRT for RTX")
    environment = tensorrt_rtx.environment(compiler)
    folder = tmp_path_factory.mktemp("networks")

    def run(name: str, model: onnx.ModelProto, precision: str = "fp32") -> dict[str, object]:
        path = folder / f"{name}.{precision}.onnx"
        onnx.save(model, path)
        command = [sys.executable, "-m", "tests.support.tensorrt_rtx", str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    return run


@by_model
def test_a_network_in_tensorrts_terms_answers_alike(repository: Path, tmp_path: Path, spec: ModelSpec) -> None:
    folder = versions.folder(repository, Variant(spec))
    path = tmp_path / "model.onnx"
    onnx.save(adapted(exported(repository, spec)), path)
    evaluate = evaluator(path)
    for batch in golden.read(folder / manifest.GOLDEN_FILE):
        (frames,) = batch.inputs.values()
        answers = evaluate(frames)
        assert set(answers) == set(batch.outputs)
        for tensor in spec.outputs:
            wanted = batch.outputs[tensor.name].astype(np.float64)
            np.testing.assert_allclose(answers[tensor.name].astype(np.float64), wanted, rtol=0, atol=tensor.tolerance)


@by_model
def test_what_the_builder_takes_is_what_we_say_it_takes(repository: Path, build: Build, spec: ModelSpec) -> None:
    model = exported(repository, spec)
    result = build(spec.name, model)
    if taken_whole(spec):
        refuse_unsupported(model)
        assert "error" not in result
    else:
        with pytest.raises(NetworkError, match="bytes inside the graph"):
            refuse_unsupported(model)
        assert "first input has type UInt8" in str(result["error"])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@by_model
def test_an_engine_is_built_of_the_network_with_its_shapes(
    repository: Path, build: Build, spec: ModelSpec, precision: str
) -> None:
    model = adapted(exported(repository, spec))
    if precision == "fp16":
        model = halved(model)
        refuse_unsupported(model)
    if spec.name in WITH_SUPPRESSION:
        # TensorRT for RTX parses NonMaxSuppression, but has no kernel for it; TensorRT has.
        assert "no runners that implement it" in str(build(spec.name, model, precision)["error"])
        model = without_suppression(model)
    result = build(spec.name, model, precision)
    assert "error" not in result, result["error"]
    assert int(str(result["nbytes"])) > 1 << 20


def test_int8_is_refused_by_name(repository: Path) -> None:
    """Its activations are unsigned bytes, as CPUs like them best; so it is not offered for TensorRT."""
    (spec,) = registry.specs(["labels"])
    assert spec.int8 is not None
    path = versions.folder(repository, Variant(spec, "int8"))
    if not path.exists():
        export_variant(Variant(spec, "int8"), repository)
    with pytest.raises(NetworkError, match="bytes inside the graph"):
        adapted(onnx.load(path / manifest.MODEL_FILE))


def test_another_size_than_the_networks_is_refused(repository: Path, build: Build) -> None:
    """As for a spec that says other dims than its graph."""
    (spec,) = registry.specs(["labels"])
    model = adapted(exported(repository, spec))
    for place, size in ((1, 192), (2, 192)):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
    assert "labels: TensorRT" in str(build("labels", model)["error"])


def without_suppression(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the first candidate selected, whatever the scores: all of the graph but one node."""
    (node,) = [node for node in model.graph.node if node.op_type == "NonMaxSuppression"]
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 3), np.int64), node.output[0]))
    model.graph.node.remove(node)
    return model

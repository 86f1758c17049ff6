"""A small TensorFlow.js graph through both ways: converted to ONNX, and evaluated in torch."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from export.errors import BuildError
from export.graph import BATCH, Graph, planes
from export.simplify import simplified
from export.tfjs.convert import convert
from export.tfjs.evaluate import evaluate
from export.tfjs.reader import GraphModel, load

RNG = np.random.default_rng(1)
WEIGHTS: dict[str, np.ndarray] = {
    "kernel": RNG.normal(size=(3, 3, 3, 4)).astype(np.float32),
    "bias": RNG.normal(size=4).astype(np.float32),
    "depth": RNG.normal(size=(3, 3, 4, 1)).astype(np.float32),
    "floor": np.array(0, np.float32),
    "ceiling": np.array(2.5, np.float32),
    "scale": RNG.normal(size=4).astype(np.float32),
    "pads": np.array([[0, 0], [0, 0], [0, 0], [0, 2]], np.int32),
    "border": np.array([[0, 0], [1, 1], [0, 0], [0, 0]], np.int32),
    "shape": np.array([1, 12, 6], np.int32),
}


def texts(*values: str) -> dict[str, Any]:
    return {"list": {"s": [list(v.encode()) for v in values]}}


def node(name: str, op: str, *inputs: str, **attributes: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def strided(step: int) -> dict[str, Any]:
    return {
        "strides": {"list": {"i": ["1", str(step), str(step), "1"]}},
        "padding": {"s": list(b"SAME")},
        "data_format": {"s": "TkhXQw=="},
    }


def write(folder: Path, nodes: list[dict[str, Any]], extra: bytes = b"") -> Path:
    """Write a graph model of one shard; `extra` bytes are too many."""
    constants = [node(name, "Const") for name in WEIGHTS]
    entries = [{"name": n, "shape": list(w.shape), "dtype": w.dtype.name} for n, w in WEIGHTS.items()]
    document = {
        "modelTopology": {"node": constants + nodes},
        "weightsManifest": [{"paths": ["shard"], "weights": entries}],
    }
    (folder / "shard").write_bytes(b"".join(w.tobytes() for w in WEIGHTS.values()) + extra)
    (folder / "model.json").write_text(json.dumps(document))
    return folder / "model.json"


@pytest.fixture
def model(tmp_path: Path) -> GraphModel:
    """Convolutions with TensorFlow's uneven padding, a per-channel product, bounds of bounds, a channel pad, and a frozen batch of 1."""
    nodes = [
        node("input", "Placeholder"),
        node(
            "conv",
            "_FusedConv2D",
            "input",
            "kernel",
            "bias",
            fused_ops=texts("BiasAdd", "Relu"),
            **strided(2),
        ),
        node("depthwise", "DepthwiseConv2dNative", "conv", "depth", **strided(1)),
        node("scaled", "Mul", "depthwise", "scale"),
        node("sum", "AddN", "scaled", "conv"),
        node("biased", "Add", "bias", "sum"),
        node("positive", "Relu", "biased"),
        node("lowered", "Minimum", "positive", "ceiling"),
        node("raised", "Maximum", "lowered", "floor"),
        node("six", "Relu6", "raised"),
        node("padded", "Pad", "six", "pads"),
        node("flat", "Reshape", "padded", "shape"),
        node("unknown", "FancyNewOperator", "flat"),
        node("taller", "Pad", "six", "border"),
        node("pooled", "MaxPool", "six", **(strided(2) | {"ksize": {"list": {"i": ["1", "2", "2", "1"]}}})),
    ]
    return load(write(tmp_path, nodes))


def converted(model: GraphModel) -> onnx.ModelProto:
    graph = Graph("toy")
    pixels = planes(graph, graph.input("frames", "UINT8", [BATCH, 8, 6, 3]))
    (flat,) = convert(model, graph, {"input": pixels}, ["flat"])
    graph.output("flat_output", "FP32", [BATCH, 12, 6], flat)
    return simplified(graph.model())


def test_both_ways_agree_for_any_batch(model: GraphModel) -> None:
    opened = ort.InferenceSession(converted(model).SerializeToString(), providers=["CPUExecutionProvider"])
    frames = RNG.integers(0, 256, (3, 8, 6, 3)).astype(np.uint8)
    (wanted,) = evaluate(model, {"input": frames.astype(np.float32)}, ["flat"])
    (got,) = opened.run(None, {"frames": frames})
    assert wanted.shape == (3, 12, 6)
    assert np.ptp(wanted) > 1
    np.testing.assert_allclose(got, wanted, atol=1e-3, rtol=1e-4)


def test_bounds_of_bounds_are_one_node(model: GraphModel) -> None:
    kinds = Counter(n.op_type for n in converted(model).graph.node)
    assert (kinds["Clip"], kinds["Relu"], kinds["Min"], kinds["Max"]) == (1, 1, 0, 0)


def test_a_constant_joins_the_convolution_of_a_sum(model: GraphModel) -> None:
    """There it is a bias; behind the sum it would be a node, for which ONNX Runtime leaves its blocked layout."""
    graph = converted(model).graph
    (addition,) = (n for n in graph.node if n.op_type == "Add")
    assert not {i.name for i in graph.initializer} & set(addition.input)


def test_padding_and_pooling_lead_back_to_a_convolution(model: GraphModel) -> None:
    """Exactly: it multiplies by ones and zeros."""
    graph = Graph("toy")
    pixels = planes(graph, graph.input("frames", "UINT8", [BATCH, 8, 6, 3]))
    names = convert(model, graph, {"input": pixels}, ["six", "padded", "pooled"])
    for name, shape in zip(names, ([4, 3, 4], [4, 3, 6], [2, 2, 4]), strict=True):
        graph.output(f"{name}_output", "FP32", [BATCH, *shape], name)
    written = graph.model()
    assert {"Pad"}.isdisjoint(n.op_type for n in written.graph.node)
    opened = ort.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    six, padded, pooled = opened.run(None, {"frames": RNG.integers(0, 256, (2, 8, 6, 3)).astype(np.uint8)})
    assert np.ptp(six) > 1
    np.testing.assert_array_equal(padded, np.pad(six, ((0, 0), (0, 0), (0, 0), (0, 2))))
    beyond = np.pad(six, ((0, 0), (0, 0), (0, 1), (0, 0)))
    np.testing.assert_array_equal(pooled, beyond.reshape(2, 2, 2, 2, 2, 4).max(axis=(2, 4)))


def test_padding_of_sides_is_refused(model: GraphModel) -> None:
    graph = Graph("toy")
    pixels = planes(graph, graph.input("frames", "UINT8", [BATCH, 8, 6, 3]))
    with pytest.raises(BuildError, match="taller"):
        convert(model, graph, {"input": pixels}, ["taller"])


def test_an_unknown_operator_is_named_by_both(model: GraphModel) -> None:
    graph = Graph("toy")
    pixels = planes(graph, graph.input("frames", "UINT8", [BATCH, 8, 6, 3]))
    with pytest.raises(BuildError, match="FancyNewOperator"):
        convert(model, graph, {"input": pixels}, ["unknown"])
    with pytest.raises(BuildError, match="FancyNewOperator"):
        evaluate(model, {"input": np.zeros((1, 8, 6, 3), np.float32)}, ["unknown"])


def test_shards_that_are_too_long_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="weights end at byte"):
        load(write(tmp_path, [], extra=b"\0"))

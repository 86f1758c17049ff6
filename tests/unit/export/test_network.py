"""What is lowered is the network: products with weights and what lies between them, and nothing around it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from export.errors import BuildError
from export.fp16 import halved
from export.graph import Graph
from export.int8 import quantised
from export.network import body, prepared
from export.simplify import interface
from export.spec import Int8


def toy() -> onnx.ModelProto:
    """Bytes -> floats -> two convolutions with a ReLU between -> softmax."""
    rng = np.random.default_rng(1)
    graph = Graph("toy")
    frames = graph.input("frames", "UINT8", ["batch", 3, 8, 8])
    pixels = graph.op("Div", graph.op("Cast", frames, to=onnx.TensorProto.FLOAT), graph.floats(255.0))
    first = graph.op("Conv", pixels, graph.floats(rng.normal(size=(8, 3, 3, 3))), pads=[1, 1, 1, 1])
    seen = graph.op("Relu", first)
    second = graph.op("Conv", seen, graph.floats(rng.normal(size=(4, 8, 8, 8)) / 10))
    scores = graph.op("Softmax", graph.op("Flatten", second, axis=1), axis=1)
    graph.output("scores", "FP32", ["batch", 4], scores)
    return graph.model()


BATCHES = [np.random.default_rng(n).integers(0, 256, (2, 3, 8, 8)).astype(np.uint8) for n in range(4)]


def kinds(model: onnx.ModelProto, names: set[str]) -> list[str]:
    return [node.op_type for node in model.graph.node if node.name in names]


def test_the_network_ends_with_its_last_product() -> None:
    model = prepared(toy())
    assert kinds(model, body(model)) == ["Conv", "Relu", "Conv"]


def test_a_graph_without_weights_has_no_network() -> None:
    graph = Graph("none")
    frames = graph.input("frames", "UINT8", ["batch", 4])
    graph.output("sums", "FP32", ["batch", 4], graph.op("Cast", frames, to=onnx.TensorProto.FLOAT))
    assert body(prepared(graph.model())) == set()
    with pytest.raises(BuildError, match="no node"):
        quantised(graph.model(), [np.zeros((1, 4), np.uint8)], Int8())


def test_int8_keeps_the_interface_and_what_lies_around() -> None:
    made = quantised(toy(), BATCHES, Int8())
    assert interface(made) == interface(toy())
    writers = {output: node.op_type for node in made.graph.node for output in node.output}
    readers = {node.op_type: [writers.get(i) for i in node.input] for node in made.graph.node}
    assert readers["Conv"][:2] == ["DequantizeLinear", "DequantizeLinear"]
    assert readers["Flatten"][0] in ("DequantizeLinear", "Conv")
    assert readers["Softmax"] == ["Flatten"]


def test_fp16_keeps_the_interface_and_what_lies_around() -> None:
    made = halved(toy())
    assert interface(made) == interface(toy())
    halves = {t.name for t in made.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    for node in made.graph.node:
        expected = node.op_type == "Conv"
        assert any(i in halves for i in node.input) == expected, node.op_type

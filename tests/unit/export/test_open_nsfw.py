"""Reading a TensorFlow translation: constants behind convolutions are folded, layouts and casts vanish, the numbers stay."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from export.builders import open_nsfw
from export.errors import BuildError
from export.graph import BATCH, Graph

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(2)


def normalised(graph: Graph, picture: str, channels: tuple[int, int], size: int, stride: int, pad: int) -> str:
    """A convolution as the shipped file has it: of a picture [n, h, w, c], and five nodes of constants behind it."""
    first = graph.op("Transpose", graph.op("Cast", picture, to=FLOAT), perm=[0, 3, 1, 2])
    weight = graph.floats(RNG.normal(0, 0.3, (channels[1], channels[0], size, size)))
    found = graph.op("Conv", first, weight, kernel_shape=[size, size], strides=[stride, stride], pads=[pad] * 4)
    result = graph.op("Cast", graph.op("Transpose", found, perm=[0, 2, 3, 1]), to=FLOAT)
    for kind in ("Add", "Sub", "Mul", "Add"):
        constant = RNG.uniform(0.5, 2, (1, 1, 1, channels[1]))
        result = graph.op(kind, result, graph.floats(constant))
    return result


def shipped(last: str = "Softmax") -> onnx.ModelProto:
    """A residual network in the shipped file's manner: padding apart, edges repeated before the pooling."""
    graph = Graph("shipped")
    frames = graph.input("input", "FP32", [BATCH, 16, 16, 3])
    padded = graph.op("Pad", frames, graph.ints(0, 3, 3, 0, 0, 3, 3, 0))
    start = graph.op("Relu", normalised(graph, padded, (3, 8), 7, 2, 0))
    edges = graph.op(
        "Pad", graph.op("Transpose", start, perm=[0, 3, 1, 2]), graph.ints(0, 0, 0, 0, 0, 0, 1, 1), mode="edge"
    )
    pooled = graph.op("MaxPool", edges, kernel_shape=[3, 3], strides=[2, 2])
    last_dims = graph.op("Transpose", pooled, perm=[0, 2, 3, 1])
    inner = graph.op("Relu", normalised(graph, last_dims, (8, 4), 1, 1, 0))
    branch = normalised(graph, inner, (4, 8), 3, 1, 1)
    joined = graph.op("Relu", graph.op("Add", branch, graph.op("Cast", last_dims, to=FLOAT)))
    mean = graph.op("ReduceMean", joined, axes=[1, 2], keepdims=0)
    logits = graph.op(
        "Add", graph.op("MatMul", mean, graph.floats(RNG.normal(0, 0.03, (8, 2)))), graph.floats([0.2, -0.1])
    )
    graph.output("output", "FP32", [BATCH, 2], graph.op(last, logits))
    return graph.model()


def read(network: onnx.ModelProto) -> onnx.ModelProto:
    graph = Graph("read")
    pixels = graph.input("pixels", "FP32", [BATCH, 3, 16, 16])
    graph.output("scores", "FP32", [BATCH, 2], open_nsfw.absorb(graph, network, pixels))
    return graph.model()


def run(model: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    opened = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(opened.run(None, {opened.get_inputs()[0].name: pixels})[0])


def test_the_numbers_stay_and_only_the_network_is_left() -> None:
    network = shipped()
    pixels = RNG.normal(0, 1, (4, 16, 16, 3)).astype(np.float32)
    wanted = run(network, pixels)
    assert np.ptp(wanted[:, 0]) > 0.02
    model = read(network)
    np.testing.assert_allclose(run(model, pixels.transpose(0, 3, 1, 2)), wanted, atol=1e-6)
    assert Counter(n.op_type for n in model.graph.node) == {
        "Conv": 3,
        "Relu": 3,
        "Add": 2,
        **dict.fromkeys(("MaxPool", "GlobalAveragePool", "Flatten", "MatMul", "Softmax", "Identity"), 1),
    }


def test_an_operator_that_is_not_understood_is_named() -> None:
    with pytest.raises(BuildError, match="HardSwish"):
        read(shipped(last="HardSwish"))

"""Graphs in TensorRT's terms: the same answers, and what has no equivalent is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import NetworkError
from export.graph import Graph, planes
from export.tensorrt.network import adapted, refuse_unsupported

FRAMES = np.random.default_rng(11).integers(0, 256, (3, 4, 6, 3)).astype(np.uint8)


def answer(model: onnx.ModelProto, frames: NDArray[Any] = FRAMES) -> NDArray[Any]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: frames})[0])


def graph_of(write: Any, output: str = "FP32") -> onnx.ModelProto:
    """A graph from frames [n, 4, 6, 3] to what `write` makes of them."""
    graph = Graph("tiny")
    frames = graph.input("frames", "UINT8", ["n", 4, 6, 3])
    graph.output("out", output, ["n", *["d"] * write.rank], write(graph, frames))
    return graph.model()


def ranked(rank: int) -> Any:
    def mark(write: Any) -> Any:
        write.rank = rank
        return write

    return mark


@ranked(3)
def moved(graph: Graph, frames: str) -> str:
    return planes(graph, frames)


@ranked(3)
def shifted(graph: Graph, frames: str) -> str:
    return graph.op(
        "Cast", graph.op("BitShift", frames, graph.const(5, np.uint8), direction="RIGHT"), to=TensorProto.FLOAT
    )


def histogram(graph: Graph, frames: str, bins: int = 512, filling: float = 1.0, number: Any = np.float32) -> str:
    """As the shot model counts colours."""
    levels = graph.op("BitShift", frames, graph.const(5, np.uint8), direction="RIGHT")
    indices = graph.op("Mul", graph.op("Cast", levels, to=TensorProto.INT64), graph.const([64, 8, 1], np.int64))
    flat = graph.op("Reshape", graph.op("ReduceSum", indices, graph.ints(3), keepdims=0), graph.ints(-1, 24))
    ones = numpy_helper.from_array(np.full(1, filling, number))
    zeros = numpy_helper.from_array(np.zeros(1, number))
    one = graph.op("ConstantOfShape", graph.op("Shape", flat), value=ones)
    shape = graph.op("Concat", graph.op("Shape", flat, start=0, end=1), graph.ints(bins), axis=0)
    empty = graph.op("ConstantOfShape", shape, value=zeros)
    return graph.op("ScatterElements", empty, flat, one, axis=1, reduction="add")


@ranked(1)
def counted(graph: Graph, frames: str) -> str:
    return histogram(graph, frames)


@ranked(1)
def counted_in_half_precision(graph: Graph, frames: str) -> str:
    return graph.op("Cast", histogram(graph, frames, number=np.float16), to=TensorProto.FLOAT)


@ranked(1)
def counted_in_odd_bins(graph: Graph, frames: str) -> str:
    return histogram(graph, frames, bins=513)


@ranked(1)
def added_otherwise(graph: Graph, frames: str) -> str:
    return histogram(graph, frames, filling=2.0)


@ranked(3)
def shifted_left(graph: Graph, frames: str) -> str:
    return graph.op(
        "Cast", graph.op("BitShift", frames, graph.const(1, np.uint8), direction="LEFT"), to=TensorProto.FLOAT
    )


@pytest.mark.parametrize("write", [moved, shifted, counted], ids=lambda w: w.__name__)
def test_an_equivalent_answers_alike(write: Any) -> None:
    model = graph_of(write)
    with pytest.raises(NetworkError):
        refuse_unsupported(model)
    before = model.SerializeToString()
    equivalent = adapted(model)
    np.testing.assert_array_equal(answer(equivalent), answer(model))
    assert model.SerializeToString() == before
    assert [i.type for i in equivalent.graph.input] == [i.type for i in model.graph.input]
    assert list(equivalent.graph.output) == list(model.graph.output)


@pytest.mark.parametrize("write", [counted, counted_in_half_precision], ids=lambda w: w.__name__)
def test_a_histogram_counts_every_pixel(write: Any) -> None:
    """In half precision there is no comparison: ONNX Runtime itself cannot add by scattering there."""
    equivalent = adapted(graph_of(write))
    wanted = [np.bincount((picture >> 5).reshape(-1, 3) @ [64, 8, 1], minlength=512) for picture in FRAMES]
    np.testing.assert_array_equal(answer(equivalent), wanted)
    assert np.all(answer(equivalent, FRAMES * 0)[:, 0] == 24)


def test_bytes_may_be_what_comes_out() -> None:
    graph = Graph("tiny")
    frames = graph.input("frames", "UINT8", ["n", 4, 6, 3])
    graph.output("out", "UINT8", ["n", 3, 4, 6], graph.op("Cast", planes(graph, frames), to=TensorProto.UINT8))
    model = graph.model()
    # The writer's Identity behind the cast is what the simplifier removes from our models.
    cast, last = model.graph.node[-2:]
    cast.output[0] = last.output[0]
    del model.graph.node[-1]
    equivalent = adapted(model)
    np.testing.assert_array_equal(answer(equivalent), answer(model))


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (shifted_left, "BitShift is known to the right"),
        (added_otherwise, "known as a count"),
        (counted_in_odd_bins, "known as a count"),
    ],
    ids=lambda w: getattr(w, "__name__", ""),
)
def test_what_has_no_equivalent_is_named(write: Any, says: str) -> None:
    with pytest.raises(NetworkError, match=says):
        adapted(graph_of(write))


def test_what_tensorrt_does_not_take_is_named() -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], name="quantise"),
        helper.make_node("FusedThing", ["x"], ["z"], name="ours", domain="com.example"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "odd", [value("x", TensorProto.FLOAT, [2])], [value("y", TensorProto.FLOAT, [2])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    with pytest.raises(
        NetworkError, match=r"odd: TensorRT does not take DynamicQuantizeLinear \(quantise\), FusedThing"
    ):
        refuse_unsupported(helper.make_model(graph, opset_imports=opsets, ir_version=9))

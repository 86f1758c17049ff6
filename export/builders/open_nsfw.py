"""The shipped open_nsfw network written anew: channels first throughout, batch normalisation inside the convolutions.

The file is a translation from TensorFlow. Every convolution stands between two transposes and before a bias and three
more constants, and ONNX Runtime leaves its blocked layout for each of them. Here the constants are folded in float64
and rounded once, and nothing is transposed.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.errors import BuildError
from export.graph import Graph

_RENAMES = ("Identity", "Cast", "Transpose", "Pad")
"""What changes nothing here: casts to the type a tensor has, transposes between TensorFlow's layout and ours, and the
padding that the convolution or the pooling behind it does itself. (Before the pooling the file repeats the border,
which has the same maxima as to leave out what lies beyond it.)"""
_AFFINE = ("Add", "Sub", "Mul")


def absorb(graph: Graph, network: onnx.ModelProto, pixels: str) -> str:
    """Write the network behind `pixels`, FP32 [n, 3, h, w]; return its scores [n, 2].

    Raises:
        BuildError: the file has an operator, or a use of one, that is not understood.
    """
    return _Reader(graph, network.graph, pixels).scores()


class _Reader:
    """Walks the file's nodes in order; `_written` has our name of every tensor that depends on the pixels."""

    def __init__(self, graph: Graph, network: onnx.GraphProto, pixels: str) -> None:
        self._graph = graph
        self._network = network
        self._weights = {t.name: numpy_helper.to_array(t) for t in network.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in network.node:
            if node.op_type == "Identity" and node.input[0] in self._weights:
                self._weights[node.output[0]] = self._weights[node.input[0]]
            for name in node.input:
                self._readers[name].append(node)
        self._written = {network.input[0].name: pixels}

    def scores(self) -> str:
        for node in self._network.node:
            ours = [self._written[i] for i in node.input if i in self._written]
            if ours and node.output[0] not in self._written and node.op_type != "Shape":
                end, name = self._write(node, ours)
                self._written[end] = name
        return self._written[self._network.output[0].name]

    def _write(self, node: onnx.NodeProto, ours: list[str]) -> tuple[str, str]:
        """Write what a node computes; return the file's name of it and ours."""
        write, result = self._graph.op, node.output[0]
        weights = [self._weights[i] for i in node.input if i in self._weights]
        match node.op_type, len(ours), len(weights):
            case "Conv", 1, 1:
                return self._convolution(node, ours[0], weights[0])
            case kind, 1, _ if kind in _RENAMES:
                return result, ours[0]
            case "Relu", 1, 0:
                return result, write("Relu", *ours)
            case "Add", 2, 0:
                return result, write("Add", *ours)
            case "MaxPool", 1, 0:
                return result, write("MaxPool", *ours, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
            case "ReduceMean", 1, 0:
                return result, write("Flatten", write("GlobalAveragePool", *ours), axis=1)
            case ("MatMul" | "Add") as kind, 1, 1 if weights[0].ndim < 4:
                return result, write(kind, *ours, self._graph.floats(weights[0]))
            case "Softmax", 1, 0:
                return result, write("Softmax", *ours, axis=1)
        raise BuildError(f"open_nsfw: {node.op_type} {node.name!r} of {len(ours)} pictures and {len(weights)} weights")

    def _convolution(self, node: onnx.NodeProto, picture: str, weight: NDArray[np.float32]) -> tuple[str, str]:
        gain, offset, end = self._constants_behind(node.output[0], len(weight))
        return end, self._graph.op(
            "Conv",
            picture,
            self._graph.floats(weight.astype(np.float64) * gain[:, None, None, None]),
            self._graph.floats(offset),
            kernel_shape=weight.shape[2:],
            strides=next(helper.get_attribute_value(a) for a in node.attribute if a.name == "strides"),
            pads=[size // 2 for size in (*weight.shape[2:], *weight.shape[2:])],
        )

    def _constants_behind(self, tensor: str, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
        """Return gain and offset of every channel by the constants behind `tensor`, and the tensor they end in."""
        gain, offset = np.ones(channels), np.zeros(channels)
        while len(self._readers[tensor]) == 1:
            (reader,) = self._readers[tensor]
            constants = [self._weights[i] for i in reader.input[1:] if i in self._weights]
            if reader.op_type in _AFFINE and constants:
                value = constants[0].astype(np.float64).reshape(channels)
                if reader.op_type == "Mul":
                    gain, offset = gain * value, offset * value
                else:
                    offset = offset + value if reader.op_type == "Add" else offset - value
            elif reader.op_type not in ("Cast", "Transpose"):
                break
            tensor = reader.output[0]
        return gain, offset, tensor

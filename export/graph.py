"""A small ONNX graph writer, and the pre-processing that the models share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import BuildError

OPSET = 17
IR_VERSION = 9
"""What the oldest server that we support (ONNX Runtime 1.17) reads."""
BATCH = "batch"
ELEMENT_TYPES = {"UINT8": TensorProto.UINT8, "INT32": TensorProto.INT32, "FP32": TensorProto.FLOAT}


class Graph:
    """Writes nodes in order; every method that makes a tensor returns its name."""

    def __init__(self, name: str, opset: int = OPSET) -> None:
        self._name = name
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def fresh(self, stem: str) -> str:
        """Return a tensor name that nobody has."""
        self._count += 1
        return f"{stem}_{self._count}"

    def input(self, name: str, dtype: str, dims: Sequence[int | str]) -> str:
        """Declare an input of the whole shape, the batch dimension included."""
        self._inputs.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], list(dims)))
        return name

    def output(self, name: str, dtype: str, dims: Sequence[int | str], value: str) -> None:
        """Declare that the tensor `value` is the output `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], list(dims)))

    def const(self, value: ArrayLike, dtype: type[np.generic] | None = None) -> str:
        """Return the name of a constant tensor."""
        name = self.fresh("const")
        self._constants[name] = np.array(value, dtype=dtype, order="C")
        return name

    def floats(self, value: ArrayLike) -> str:
        """Return the name of an FP32 constant."""
        return self.const(value, np.float32)

    def ints(self, *values: int) -> str:
        """Return the name of an INT64 vector, as shapes, axes and slices need it."""
        return self.const(values, np.int64)

    def value(self, name: str) -> NDArray[Any] | None:
        """Return the value of a constant tensor, None when the tensor is computed."""
        return self._constants.get(name)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        names = [self.fresh(kind.lower()) for _ in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=self.fresh("node"), **attributes))
        return names

    def absorb(self, model: onnx.ModelProto, inputs: Mapping[str, str]) -> dict[str, str]:
        """Copy another model's nodes behind our tensors; return its outputs' names by what they were called."""
        versions = {o.domain: o.version for o in model.opset_import}
        if versions.get("") != self._opset:
            raise BuildError(f"graph {model.graph.name!r} has opset {versions}, expected {self._opset}")
        names: dict[str, str] = {"": ""} | dict(inputs)
        for tensor in model.graph.initializer:
            names[tensor.name] = self.const(numpy_helper.to_array(tensor))
        for node in model.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = self.fresh("node")
            missing = [i for i in node.input if i not in names]
            if missing:
                raise BuildError(f"node {node.name!r} reads {missing}, which no mapping names")
            copy.input[:] = [names[i] for i in node.input]
            for output in node.output:
                names.setdefault(output, self.fresh(node.op_type.lower()) if output else "")
            copy.output[:] = [names[o] for o in node.output]
            self._nodes.append(copy)
        return {o.name: names[o.name] for o in model.graph.output}

    def model(self) -> onnx.ModelProto:
        """Return the checked model, without constants that nobody reads."""
        used = {name for node in self._nodes for name in node.input}
        tensors = [numpy_helper.from_array(v, k) for k, v in self._constants.items() if k in used]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self._opset)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


def planes(graph: Graph, frames: str) -> str:
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w], still 0..255. Bytes are transposed before they become floats."""
    return graph.op("Cast", graph.op("Transpose", frames, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)


def scaled(graph: Graph, pixels: str, divisor: float, shift: float) -> str:
    """pixels / divisor - shift, in the order that the reference implementations compute it."""
    return graph.op("Sub", graph.op("Div", pixels, graph.floats(divisor)), graph.floats(shift))


def l2_normalised(graph: Graph, vectors: str) -> str:
    """Divide each row of [n, d] by its length; a row of zeros stays zeros."""
    length = graph.op("ReduceL2", vectors, axes=[1], keepdims=1)
    return graph.op("Div", vectors, graph.op("Max", length, graph.floats(1e-12)))

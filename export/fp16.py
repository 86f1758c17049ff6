"""Half precision: the network runs on 16-bit floats, for GPUs. What lies before and behind it stays as it is.

The converters at hand (ONNX Runtime's, onnxconverter-common's) treat the whole graph as half and cast around what is to
stay: values between two such nodes are rounded all the same, and graphs of ours come out unsorted or ill-typed.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.errors import BuildError
from export.network import body, prepared

_STAYS = ("Resize", "ReduceMean", "Pow", "Sqrt", "LayerNormalization", "ReduceL2")
"""Resize has scales in float; the others sum up or square, which leaves the range of a half (65504) early."""
_LARGEST = float(np.finfo(np.float16).max)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its network in fp16, behind casts at its borders. Inputs and outputs keep their types."""
    made = onnx.shape_inference.infer_shapes(prepared(model))
    inside = body(made)
    network = {node.name for node in made.graph.node if node.name in inside and node.op_type not in _STAYS}
    halving = _Halving(made.graph, network)
    nodes = halving.nodes()
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(halving.constants)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in used]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    del made.graph.value_info[:]
    onnx.checker.check_model(made, full_check=True)
    return made


class _Halving:
    """Walks the nodes in order. A tensor that a node of the network makes exists as a half, under the name it had; where
    others read it, and where the network reads theirs, a cast to the other type stands right behind its maker.
    """

    def __init__(self, graph: onnx.GraphProto, network: set[str]) -> None:
        self._graph, self._network = graph, network
        self._values = {tensor.name: tensor for tensor in graph.initializer}
        known = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
        known |= {name: tensor.data_type for name, tensor in self._values.items()}
        self._floats = {name for name, kind in known.items() if kind == TensorProto.FLOAT}
        self._cast: dict[str, str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        made = {output for node in graph.node if node.name in network for output in node.output}
        self._halves = made & self._floats
        self._outputs = {output.name for output in graph.output}

    def nodes(self) -> list[onnx.NodeProto]:
        for node in self._graph.node:
            inside = node.name in self._network
            node.input[:] = [self._read(name, inside) for name in node.input]
            self._nodes.append(node)
            if inside:
                _retype(node)
                for name in set(node.output) & self._outputs & self._halves:
                    raise BuildError(f"{name} is made by the network itself; nothing behind it could cast it back")
        return self._nodes

    def _read(self, name: str, inside: bool) -> str:
        """The name under which a node reads a tensor; a cast is written at its first use."""
        if name not in self._floats or inside == (name in self._halves):
            return name
        if name not in self._cast:
            self._cast[name] = f"{name}_as_{'fp16' if inside else 'fp32'}"
            if name in self._values:
                self.constants.append(_half(self._values[name], self._cast[name]))
            else:
                kind = TensorProto.FLOAT16 if inside else TensorProto.FLOAT
                self._nodes.append(helper.make_node("Cast", [name], [self._cast[name]], self._cast[name], to=kind))
        return self._cast[name]


def _half(tensor: TensorProto, name: str) -> TensorProto:
    """The nearest halves; what is too large becomes the largest."""
    values = np.clip(numpy_helper.to_array(tensor), -_LARGEST, _LARGEST).astype(np.float16)
    return numpy_helper.from_array(values, name)


def _retype(node: onnx.NodeProto) -> None:
    """Turn what a node makes from nothing, or casts to, into halves."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_half(attribute.t, attribute.t.name))

"""Walk a TensorFlow.js graph from the wanted outputs back to the inputs, and write it as ONNX nodes.

TensorFlow's pictures are [n, h, w, c], ONNX's are [n, c, h, w]. A tensor knows which it is, pictures stay
channels-first from the first convolution on, and are turned back only where an operator counts in TensorFlow's order,
so the graph has next to no transposes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import BuildError
from export.graph import Graph
from export.tfjs.reader import GraphModel, Node


@dataclass(frozen=True)
class Tensor:
    """A tensor of the ONNX graph, or a constant that is not written yet."""

    name: str = ""
    channels_first: bool = False
    value: NDArray[Any] | None = None
    channels: int = 0
    """Of a picture behind a convolution; 0 where nothing says it."""


class Converter:
    """The state of one conversion; the operators themselves are functions in `operators`."""

    def __init__(self, source: GraphModel, graph: Graph, inputs: Mapping[str, Tensor]) -> None:
        """inputs maps TensorFlow node names to tensors that stand in for them."""
        self.graph = graph
        self.source = source
        self._done: dict[str, Tensor] = dict(inputs)

    def tensors(self, outputs: Iterable[str]) -> list[str]:
        """Write what the outputs need; return their names in the ONNX graph, in TensorFlow's order of dimensions."""
        return [self.channels_last(self._resolve(output)) for output in outputs]

    def input(self, node: Node, position: int) -> Tensor:
        """Return an input of a node whose producers are already written."""
        return self._done[node.inputs[position]]

    def constant(self, node: Node, position: int) -> NDArray[Any]:
        """Return an input that must be constant."""
        value = self.input(node, position).value
        if value is None:
            raise BuildError(f"{node.op} {node.name!r}: input {position} ({node.inputs[position]!r}) is not constant")
        return value

    def channels_first(self, tensor: Tensor) -> str:
        """Return a picture as [n, c, h, w]."""
        if tensor.channels_first:
            return tensor.name
        return self.graph.op("Transpose", self.written(tensor), perm=[0, 3, 1, 2])

    def channels_last(self, tensor: Tensor) -> str:
        """Return a tensor in TensorFlow's order."""
        if tensor.channels_first:
            return self.graph.op("Transpose", tensor.name, perm=[0, 2, 3, 1])
        return self.written(tensor)

    def written(self, tensor: Tensor) -> str:
        """Return the tensor's name, as a constant of the graph where it is one."""
        return tensor.name if tensor.value is None else self.graph.const(tensor.value)

    def _resolve(self, name: str) -> Tensor:
        """Depth first without recursion: these graphs are deeper than Python's stack likes."""
        from export.tfjs.operators import emit, wanted_inputs

        stack = [name]
        while stack:
            current = stack[-1]
            if current in self._done:
                stack.pop()
                continue
            node = self.source.nodes.get(current)
            if node is None:
                raise BuildError(f"the graph has no node {current!r}")
            missing = [i for i in wanted_inputs(node) if i not in self._done]
            if missing:
                stack += missing
                continue
            self._done[current] = self._constant(node) if node.op == "Const" else emit(self, node)
            stack.pop()
        return self._done[name]

    def _constant(self, node: Node) -> Tensor:
        if node.name not in self.source.weights:
            raise BuildError(f"constant {node.name!r} has no weight")
        return Tensor(value=self.source.weights[node.name])


def per_channel(value: NDArray[Any]) -> NDArray[Any]:
    """A constant that TensorFlow broadcasts over the last dimension, shaped to broadcast over the second of four."""
    if value.ndim == 0 or value.size == 1:
        return value.reshape(())
    if value.ndim == 4:
        return value.transpose(0, 3, 1, 2)
    if value.ndim != 1:
        raise BuildError(f"cannot broadcast a constant of shape {list(value.shape)} over a picture")
    return value.reshape(1, -1, 1, 1)


def convert(source: GraphModel, graph: Graph, inputs: Mapping[str, str], outputs: Iterable[str]) -> list[str]:
    """Write the part of a graph model between `inputs` and `outputs` into `graph`.

    inputs maps TensorFlow node names to pictures in the ONNX graph, FP32 [n, c, h, w]. Returns the ONNX names of the
    outputs, in TensorFlow's order of dimensions. Raises BuildError for anything that is not understood.
    """
    stands_in = {name: Tensor(tensor, channels_first=True) for name, tensor in inputs.items()}
    return Converter(source, graph, stands_in).tensors(outputs)


def as_float(value: NDArray[Any]) -> NDArray[np.float32]:
    """A weight as the FP32 that ONNX kernels take."""
    return np.ascontiguousarray(value, dtype=np.float32)

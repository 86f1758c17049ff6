"""Which nodes of a graph are its network, and which are pre- and post-processing around it."""

from __future__ import annotations

import onnx
from onnx import version_converter

_OPSET = 17
"""Quantisation per channel came with 13; older graphs are converted."""
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of at least opset 17, whose nodes all have names, and no two the same."""
    version = next(o.version for o in model.opset_import if o.domain == "")
    copy = onnx.ModelProto()
    copy.CopyFrom(model if version >= _OPSET else version_converter.convert_version(model, _OPSET))
    taken: set[str] = set()
    for number, node in enumerate(copy.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type.lower()}_{number}"
        taken.add(node.name)
    return copy


def body(model: onnx.ModelProto) -> set[str]:
    """Return the names of the network's nodes: the products with weights, and all that lies between two of them."""
    nodes = list(model.graph.node)
    constants = {tensor.name for tensor in model.graph.initializer}
    weighted = {n.name for n in nodes if n.op_type in _WEIGHTED and any(i in constants for i in n.input[1:])}
    reached: set[str] = set()
    behind: set[str] = set()
    for node in nodes:
        if node.name in weighted or any(i in reached for i in node.input):
            behind.add(node.name)
            reached.update(node.output)
    wanted: set[str] = set()
    between: set[str] = set()
    for node in reversed(nodes):
        if node.name in weighted or any(o in wanted for o in node.output):
            wanted.update(node.input)
            if node.name in behind:
                between.add(node.name)
    return between

"""Fold constants and drop dead nodes of a built graph."""

from __future__ import annotations

import onnx
import onnxslim

from export.errors import BuildError


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equivalent, smaller graph with the same inputs and outputs; BuildError when they changed."""
    slim = onnxslim.slim(model)
    if not isinstance(slim, onnx.ModelProto):
        raise BuildError("the simplifier returned no model")
    if interface(slim) != interface(model):
        raise BuildError(f"the simplifier changed the interface from {interface(model)} to {interface(slim)}")
    onnx.checker.check_model(slim)
    return slim


def interface(model: onnx.ModelProto) -> list[tuple[str, int]]:
    """Return name and element type of every input and output."""
    return [(v.name, v.type.tensor_type.elem_type) for v in (*model.graph.input, *model.graph.output)]

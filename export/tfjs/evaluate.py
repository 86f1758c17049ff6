"""Run a TensorFlow.js graph in torch, operator by operator, as TensorFlow defines them: the reference for parity.

It shares the reader with the converter and nothing else: tensors stay [n, h, w, c], paddings are computed from the
sizes at hand, batch normalisation is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from export.errors import BuildError
from export.tfjs.reader import GraphModel, Node

Values = dict[str, torch.Tensor]


def evaluate(source: GraphModel, inputs: Mapping[str, NDArray[Any]], outputs: list[str]) -> list[NDArray[Any]]:
    """Return the values of the output nodes for these values of the input nodes."""
    values: Values = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in inputs.items()}
    with torch.no_grad():
        for output in outputs:
            _compute(source, values, output)
    return [values[o].numpy() for o in outputs]


def _compute(source: GraphModel, values: Values, name: str) -> None:
    stack = [name]
    while stack:
        node = source.nodes[stack[-1]]
        missing = [i for i in node.inputs if i not in values]
        if node.name in values or not missing:
            if node.name not in values:
                values[node.name] = _apply(source, node, [values[i] for i in node.inputs])
            stack.pop()
        else:
            stack += missing


def _apply(source: GraphModel, node: Node, x: list[torch.Tensor]) -> torch.Tensor:
    if node.op == "Const":
        return torch.from_numpy(np.array(source.weights[node.name]))
    if "Conv2" in node.op:
        return _convolution(node, x)
    if node.op == "Shape":
        return torch.tensor(x[0].shape, dtype=torch.int32)
    if node.op == "Squeeze":
        axes = node.integers("squeeze_dims") or node.integers("axis")
        return x[0].squeeze(tuple(axes))
    if node.op == "StridedSlice":
        if node.integer("shrink_axis_mask") != 1 or x[0].ndim != 1:
            raise BuildError(f"StridedSlice {node.name!r} does more than take one element")
        return x[0][int(x[1])]
    if node.op == "FusedBatchNorm":
        scale = x[1] / torch.sqrt(x[4] + node.number("epsilon", 1e-4))
        return x[0] * scale + (x[2] - x[3] * scale)
    if node.op == "MaxPool":
        kernel, strides = node.integers("ksize")[1:3], node.integers("strides")[1:3]
        padded = _padded(node, x[0], kernel, strides, -torch.inf)
        return functional.max_pool2d(padded.permute(0, 3, 1, 2), kernel, strides).permute(0, 2, 3, 1)
    known = _OPERATORS.get(node.op)
    if known is None:
        raise BuildError(f"operator {node.op!r} of {node.name!r} is not supported")
    return known(x)


def _convolution(node: Node, x: list[torch.Tensor]) -> torch.Tensor:
    strides = node.integers("strides")[1:3]
    kernel = x[1]
    pictures = _padded(node, x[0], list(kernel.shape[:2]), strides, 0.0).permute(0, 3, 1, 2)
    if "Depthwise" in node.op:
        height, width, channels, multiplier = kernel.shape
        weights = kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        result = functional.conv2d(pictures, weights, stride=strides, groups=channels)
    else:
        result = functional.conv2d(pictures, kernel.permute(3, 2, 0, 1), stride=strides)
    result = result.permute(0, 2, 3, 1)
    for fused in node.texts("fused_ops"):
        result = {"BiasAdd": lambda r: r + x[2], "Relu": torch.relu, "Relu6": functional.relu6}[fused](result)
    return result


def _padded(node: Node, x: torch.Tensor, kernel: list[int], strides: list[int], value: float) -> torch.Tensor:
    """TensorFlow's SAME: the output has ceil(size / stride) elements, the odd element of padding goes to the end."""
    if node.text("padding") == "VALID":
        return x
    pads: list[int] = []
    for size, k, s in ((x.shape[2], kernel[1], strides[1]), (x.shape[1], kernel[0], strides[0])):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, [0, 0, *pads], value=value)


def _pad(x: list[torch.Tensor]) -> torch.Tensor:
    pairs = [tuple(int(v) for v in pair) for pair in x[1]]
    return functional.pad(x[0], [v for pair in reversed(pairs) for v in pair])


def _reshape(x: list[torch.Tensor]) -> torch.Tensor:
    """Keep the batch of the input where the graph was frozen with a batch of 1."""
    return x[0].reshape(x[0].shape[0], *(int(d) for d in x[1][1:]))


_OPERATORS: dict[str, Callable[[list[torch.Tensor]], torch.Tensor]] = {
    "Add": lambda x: x[0] + x[1],
    "AddV2": lambda x: x[0] + x[1],
    "BiasAdd": lambda x: x[0] + x[1],
    "AddN": lambda x: torch.stack(x).sum(0),
    "Sub": lambda x: x[0] - x[1],
    "Mul": lambda x: x[0] * x[1],
    "Maximum": lambda x: torch.maximum(x[0], x[1]),
    "Minimum": lambda x: torch.minimum(x[0], x[1]),
    "Relu": lambda x: torch.relu(x[0]),
    "Relu6": lambda x: functional.relu6(x[0]),
    "Sigmoid": lambda x: torch.sigmoid(x[0]),
    "Pad": _pad,
    "Mean": lambda x: x[0].mean(dim=tuple(int(a) for a in x[1].flatten())),
    "Pack": lambda x: torch.stack(x),
    "Reshape": _reshape,
    "ConcatV2": lambda x: torch.cat(x[:-1], dim=int(x[-1])),
    "Identity": lambda x: x[0],
}

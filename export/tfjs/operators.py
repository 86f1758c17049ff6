"""The TensorFlow operators that our models use, each as a function that writes ONNX nodes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from export.errors import BuildError
from export.tfjs.convert import Converter, Tensor, as_float, per_channel
from export.tfjs.reader import Node

_ELEMENTWISE = {
    "BiasAdd": "Add",
    "Sub": "Sub",
    "Mul": "Mul",
}
_UNARY = {"Sigmoid": "Sigmoid", "Exp": "Exp"}
_BLOCK = 16
"""Channels that stand together in ONNX Runtime's blocked layout, where there are registers of 512 bits."""
_SUMS = ("Add", "AddV2", "AddN")


def wanted_inputs(node: Node) -> tuple[str, ...]:
    """The inputs that must be written before a node.

    A Pack is only ever the shape of a Reshape here, and its first element, the batch size, is not needed: it is
    copied from the input. So the arithmetic that computes it stays unwritten.
    """
    return node.inputs[1:] if node.op == "Pack" else node.inputs


def emit(c: Converter, node: Node) -> Tensor:
    """Write one node; BuildError for an operator, or a use of one, that is not understood."""
    if _bounds(c, node) is not None:
        return _clamped(c, node)
    if node.op in _ELEMENTWISE:
        return _elementwise(c, node, _ELEMENTWISE[node.op], [c.input(node, i) for i in range(2)])
    if node.op in _UNARY:
        return _like(c.input(node, 0), c.graph.op(_UNARY[node.op], c.input(node, 0).name))
    writer = _WRITERS.get(node.op)
    if writer is None:
        raise BuildError(f"operator {node.op!r} of {node.name!r} is not supported")
    return writer(c, node)


def _like(tensor: Tensor, name: str) -> Tensor:
    return Tensor(name, tensor.channels_first, channels=tensor.channels)


def _elementwise(c: Converter, node: Node, kind: str, operands: list[Tensor]) -> Tensor:
    pictures = any(o.channels_first for o in operands)
    names = []
    for operand in operands:
        if operand.value is not None:
            names.append(c.graph.const(per_channel(operand.value) if pictures else operand.value))
        elif pictures and not operand.channels_first:
            raise BuildError(f"{node.op} {node.name!r} mixes a picture with a computed tensor of another layout")
        else:
            names.append(operand.name)
    return Tensor(c.graph.op(kind, *names), pictures, channels=max(o.channels for o in operands))


def _sum(c: Converter, node: Node) -> Tensor:
    """A constant joins a sum's first operand, which is a convolution where there is one: there it costs nothing."""
    operands = [c.input(node, i) for i in range(len(node.inputs))]
    total, *rest = sorted(operands, key=lambda operand: operand.value is not None)
    inner = _computed(c, node)
    if len(rest) == 1 and rest[0].value is not None and inner is not None and inner.op in _SUMS:
        total, *others = (c.input(inner, i) for i in range(len(inner.inputs)))
        rest += others
    for operand in rest:
        total = _elementwise(c, node, "Add", [total, operand])
    return total


def _computed(c: Converter, node: Node) -> Node | None:
    """The only input of a node that is not constant."""
    names = [name for i, name in enumerate(node.inputs) if c.input(node, i).value is None]
    return c.source.nodes.get(names[0]) if len(names) == 1 else None


def _bounds(c: Converter, node: Node) -> tuple[float, float] | None:
    """Between what a node keeps its first input, None when it does something else."""
    if node.op in ("Relu", "Relu6"):
        return 0.0, 6.0 if node.op == "Relu6" else math.inf
    if node.op in ("Minimum", "Maximum"):
        bound = float(c.constant(node, 1).reshape(()))
        return (-math.inf, bound) if node.op == "Minimum" else (bound, math.inf)
    return None


def _clamped(c: Converter, node: Node) -> Tensor:
    """A node that keeps its input in bounds; one whose input is such a node itself is written as one Clip for both."""
    low, high = -math.inf, math.inf
    chain = [node]
    while (inner := c.source.nodes.get(chain[-1].inputs[0])) is not None and _bounds(c, inner) is not None:
        chain.append(inner)
    for bounding in reversed(chain):
        floor, ceiling = _bounds(c, bounding) or (low, high)
        low, high = min(max(low, floor), ceiling), min(max(high, floor), ceiling)
    only = c.input(chain[-1], 0)
    return _like(only, _clip(c, only.name, low, high))


def _clip(c: Converter, tensor: str, low: float, high: float) -> str:
    if (low, high) == (0.0, math.inf):
        return c.graph.op("Relu", tensor)
    return c.graph.op("Clip", tensor, c.graph.floats(low), c.graph.floats(high))


def _convolution(c: Converter, node: Node) -> Tensor:
    """Conv2D, DepthwiseConv2dNative and their fused forms. Kernels are [h, w, in, out] or [h, w, in, multiplier]."""
    if node.text("data_format", "NHWC") != "NHWC":
        raise BuildError(f"{node.op} {node.name!r} is not NHWC")
    kernel = c.constant(node, 1)
    depthwise = "Depthwise" in node.op
    if depthwise:
        height, width, channels, multiplier = kernel.shape
        weights = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    else:
        weights, channels = kernel.transpose(3, 2, 0, 1), 1
    fused = node.texts("fused_ops")
    if any(f not in ("BiasAdd", "Relu", "Relu6") for f in fused):
        raise BuildError(f"{node.op} {node.name!r} fuses {fused}")
    inputs = [c.channels_first(c.input(node, 0)), c.graph.const(as_float(weights))]
    if "BiasAdd" in fused:
        inputs.append(c.graph.const(as_float(c.constant(node, 2))))
    result = c.graph.op(
        "Conv",
        *inputs,
        group=channels if depthwise else 1,
        kernel_shape=list(weights.shape[2:]),
        strides=node.integers("strides")[1:3],
        dilations=(node.integers("dilations") or [1, 1, 1, 1])[1:3],
        auto_pad=_auto_pad(node),
    )
    if "Relu" in fused:
        result = c.graph.op("Relu", result)
    if "Relu6" in fused:
        result = _clip(c, result, 0.0, 6.0)
    return Tensor(result, channels_first=True, channels=len(weights))


def _auto_pad(node: Node) -> str:
    padding = node.text("padding")
    if padding not in ("SAME", "VALID"):
        raise BuildError(f"{node.op} {node.name!r} pads {padding!r}")
    return "SAME_UPPER" if padding == "SAME" else "VALID"


def _batch_normalisation(c: Converter, node: Node) -> Tensor:
    parameters = [c.graph.const(as_float(c.constant(node, i))) for i in range(1, 5)]
    epsilon = node.number("epsilon", 1e-4)
    picture = c.channels_first(c.input(node, 0))
    normalised = c.graph.op("BatchNormalization", picture, *parameters, epsilon=epsilon)
    return Tensor(normalised, channels_first=True, channels=len(c.constant(node, 1)))


def _max_pool(c: Converter, node: Node) -> Tensor:
    only = c.input(node, 0)
    kernel, strides = node.integers("ksize")[1:3], node.integers("strides")[1:3]
    pooled = c.graph.op(
        "MaxPool", c.channels_first(only), kernel_shape=kernel, strides=strides, auto_pad=_auto_pad(node)
    )
    if only.channels % _BLOCK:
        pooled = _copy(c, pooled, only.channels, only.channels)
    return Tensor(pooled, channels_first=True, channels=only.channels)


def _pad(c: Converter, node: Node) -> Tensor:
    only, before_after = c.input(node, 0), c.constant(node, 1)
    more = int(before_after[3, 1])
    if not only.channels or before_after.sum() != more:
        raise BuildError(f"Pad {node.name!r} by {before_after.tolist()}: only channels behind a convolution's")
    wanted = only.channels + more
    return Tensor(_copy(c, only.name, only.channels, wanted), channels_first=True, channels=wanted)


def _copy(c: Converter, picture: str, channels: int, wanted: int) -> str:
    """The same channels, and zeros behind them, as a convolution by ones and zeros.

    ONNX Runtime leaves its blocked layout for a pooling whose channels fill no blocks, and for padding; all additions
    that follow stay outside of it until a convolution leads back. This one does, and is far cheaper than they are.
    """
    weights = np.eye(wanted, channels)[:, :, None, None]
    return c.graph.op("Conv", picture, c.graph.const(as_float(weights)), kernel_shape=[1, 1])


def _mean(c: Converter, node: Node) -> Tensor:
    axes = sorted(int(a) for a in np.atleast_1d(c.constant(node, 1)))
    if axes != [1, 2] or node.flag("keep_dims"):
        raise BuildError(f"Mean {node.name!r} over {axes}: only over height and width")
    return Tensor(c.graph.op("ReduceMean", c.channels_first(c.input(node, 0)), axes=[2, 3], keepdims=0))


def _pack(c: Converter, node: Node) -> Tensor:
    """The shape [batch, ...]: 0 stands for "as the input's", which is what a Reshape of ONNX understands."""
    return Tensor(value=np.array([0, *(int(c.constant(node, i)) for i in range(1, len(node.inputs)))], np.int64))


def _reshape(c: Converter, node: Node) -> Tensor:
    """A constant batch of 1, as converters write it, becomes the input's batch as well."""
    shape = [int(d) for d in c.constant(node, 1)]
    if shape[0] not in (0, 1) or min(shape[1:]) < 1:
        raise BuildError(f"Reshape {node.name!r} to {shape} does not keep the batch")
    return Tensor(c.graph.op("Reshape", c.channels_last(c.input(node, 0)), c.graph.ints(0, *shape[1:])))


def _concat(c: Converter, node: Node) -> Tensor:
    last = len(node.inputs) - 1
    parts = [c.channels_last(c.input(node, i)) for i in range(last)]
    return Tensor(c.graph.op("Concat", *parts, axis=int(c.constant(node, last))))


def _squeeze(c: Converter, node: Node) -> Tensor:
    axes = node.integers("squeeze_dims") or node.integers("axis")
    return Tensor(c.graph.op("Squeeze", c.channels_last(c.input(node, 0)), c.graph.ints(*axes)))


def _identity(c: Converter, node: Node) -> Tensor:
    return c.input(node, 0)


_WRITERS: dict[str, Callable[[Converter, Node], Tensor]] = {
    "Add": _sum,
    "AddV2": _sum,
    "AddN": _sum,
    "Conv2D": _convolution,
    "_FusedConv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "FusedBatchNorm": _batch_normalisation,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Mean": _mean,
    "Pack": _pack,
    "Reshape": _reshape,
    "ConcatV2": _concat,
    "Squeeze": _squeeze,
    "Identity": _identity,
}

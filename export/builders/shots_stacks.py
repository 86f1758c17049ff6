"""TransNetV2's three convolutional stacks, in two dimensions.

The published network convolves [n, c, t, h, w] with separable three-dimensional kernels, which ONNX Runtime computes
without its blocked kernels. Both halves are two-dimensional convolutions of the same numbers, and batch normalisation
folds into the second half. What remains is how the two halves are laid out, and two ways pay, each at its size:

By frame (small pictures): the spatial (1, 3, 3) runs over [t, c, h, w], frames as the batch; the temporal (3, 1, 1)
over [1, c, t, h * w], time as the height. Between the two lies a transpose.

Tall (the first two stacks, whose transposes would move 200 MB): all frames stand on top of one another as one
picture [1, c, t * (h + 1), w], a row of zeros below each, so that a 3 x 3 kernel sees the padding that it should. One
frame on is h + 1 rows down, so the temporal kernel is (3, 1) with a dilation of (h + 1) frames' rows. Nothing is
transposed, and ONNX Runtime keeps its blocked layout throughout. The convolution dirties the rows between frames;
a product with a mask clears them.

The number of frames t is the request's: no shape and no constant depends on it.

Both give the published network's numbers up to float rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from export.graph import Graph

DILATIONS = (1, 2, 4, 8)
_BATCH_NORM_EPSILON = 1e-3

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Branch:
    """One of a block's four separable convolutions, batch normalisation folded in."""

    dilation: int
    spatial: NDArray[np.float32]
    """[2 f, c, 3, 3], no bias."""
    temporal: NDArray[np.float32]
    """[f, 2 f, 3, 1]."""
    bias: NDArray[np.float32]
    """[f]."""


def branches(weights: Weights, stack: int, block: int, divisor: float = 1.0) -> list[Branch]:
    """Read a block. `divisor` is what its input was not yet divided by."""
    prefix = f"SDDCNN.{stack}.DDCNN.{block}"
    mean, variance = weights[f"{prefix}.bn.running_mean"], weights[f"{prefix}.bn.running_var"]
    gain = weights[f"{prefix}.bn.weight"] / np.sqrt(variance + _BATCH_NORM_EPSILON)
    bias = weights[f"{prefix}.bn.bias"] - mean * gain
    read = []
    for dilation, own_gain, own_bias in zip(DILATIONS, np.split(gain, 4), np.split(bias, 4), strict=True):
        spatial = weights[f"{prefix}.Conv3D_{dilation}.layers.0.weight"][:, :, 0] / divisor
        temporal = weights[f"{prefix}.Conv3D_{dilation}.layers.1.weight"][..., 0] * own_gain[:, None, None, None]
        read.append(Branch(dilation, spatial, temporal, own_bias))
    return read


@dataclass(frozen=True)
class Tall:
    """Frames [t, channels, height, width] on top of one another: [1, channels, t * (height + 1), width].

    height is odd, so that halving the rows leaves every frame its own.
    """

    name: str
    channels: int
    height: int
    width: int

    @property
    def rows(self) -> int:
        """From one frame to the next."""
        return self.height + 1


def tall_pixels(graph: Graph, frames: str, height: int, width: int) -> Tall:
    """Stack frames uint8 [t, height, width, 3], zeros between them."""
    planes = graph.op("Pad", graph.op("Transpose", frames, perm=[3, 0, 1, 2]), graph.ints(0, 0, 0, 0, 0, 0, 1, 0))
    picture = graph.op("Reshape", planes, graph.ints(1, 3, -1, width))
    return Tall(graph.op("Cast", picture, to=TensorProto.FLOAT), 3, height, width)


def tall_stack(graph: Graph, blocks: tuple[list[Branch], list[Branch]], tall: Tall, count: str) -> Tall:
    """Features between clean rows -> features of half the height and width, between rows that are not clean.

    `count` is the number of frames, INT64 [1]. The row below a halved frame mixes the frame's odd last row, which the
    published network drops, with the gap.
    """
    mask = _mask(graph, tall, count, len(blocks[0][0].bias))
    first = _tall_block(graph, blocks[0], tall.name, tall.rows, mask)
    second = _tall_block(graph, blocks[1], first, tall.rows, None)
    channels = sum(len(branch.bias) for branch in blocks[1])
    return Tall(_halved(graph, second, first), channels, tall.height // 2, tall.width // 2)


def cleaned(graph: Graph, tall: Tall, count: str) -> Tall:
    """The same frames between rows of zeros."""
    name = graph.op("Mul", tall.name, _mask(graph, tall, count, tall.channels))
    return Tall(name, tall.channels, tall.height, tall.width)


def by_frame(graph: Graph, tall: Tall) -> str:
    """Unstack: [t, c, height, width]."""
    return graph.op("Transpose", _by_channel(graph, tall), perm=[1, 0, 2, 3])


def tall_means(graph: Graph, tall: Tall) -> str:
    """The mean of every frame's channels, [t, c]."""
    means = graph.op("ReduceMean", _by_channel(graph, tall), axes=[2, 3], keepdims=0)
    return graph.op("Transpose", means, perm=[1, 0])


def _by_channel(graph: Graph, tall: Tall) -> str:
    """[c, t, height, width], without the rows between."""
    apart = graph.op("Reshape", tall.name, graph.ints(tall.channels, -1, tall.rows, tall.width))
    return graph.op("Slice", apart, graph.ints(0), graph.ints(tall.height), graph.ints(2))


def frame_stack(graph: Graph, blocks: tuple[list[Branch], list[Branch]], features: str, height: int, width: int) -> str:
    """Features [t, c, height, width] -> [t, 4 f, height // 2, width // 2]."""
    first = graph.op("Relu", _frame_block(graph, blocks[0], features, height, width))
    second = graph.op("Relu", _frame_block(graph, blocks[1], first, height, width))
    return _halved(graph, second, first)


def _halved(graph: Graph, block: str, shortcut: str) -> str:
    return graph.op("AveragePool", graph.op("Add", block, shortcut), kernel_shape=[2, 2], strides=[2, 2])


def _mask(graph: Graph, tall: Tall, count: str, channels: int) -> str:
    """[1, channels, rows, width]: 0 in the rows between frames, 1 elsewhere.

    A convolution spreads it over the channels, because what comes from one has the blocked layout of what it is
    multiplied with; a constant has not.
    """
    frame = np.ones((1, tall.rows, tall.width), np.float32)
    frame[:, tall.height] = 0
    shape = graph.op("Concat", count, graph.ints(1, 1), axis=0)
    plane = graph.op("Reshape", graph.op("Expand", graph.floats(frame), shape), graph.ints(1, 1, -1, tall.width))
    return graph.op("Conv", plane, graph.floats(np.ones((channels, 1, 1, 1))), kernel_shape=[1, 1])


def _tall_block(graph: Graph, block: list[Branch], picture: str, rows: int, mask: str | None) -> str:
    joined = []
    for branch in block:
        seen = _spatial(graph, branch, picture)
        result = graph.op("Relu", _temporal(graph, branch, seen, branch.dilation * rows))
        joined.append(graph.op("Mul", result, mask) if mask else result)
    return graph.op("Concat", *joined, axis=1)


def _frame_block(graph: Graph, block: list[Branch], features: str, height: int, width: int) -> str:
    joined = []
    for branch in block:
        seen = graph.op("Reshape", _spatial(graph, branch, features), graph.ints(0, 0, height * width))
        by_time = graph.op("Unsqueeze", graph.op("Transpose", seen, perm=[1, 0, 2]), graph.ints(0))
        joined.append(_temporal(graph, branch, by_time, branch.dilation))
    together = graph.op("Squeeze", graph.op("Concat", *joined, axis=1), graph.ints(0))
    by_frames = graph.op("Transpose", together, perm=[1, 0, 2])
    return graph.op("Reshape", by_frames, graph.ints(0, 0, height, width))


def _spatial(graph: Graph, branch: Branch, picture: str) -> str:
    return graph.op("Conv", picture, graph.floats(branch.spatial), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _temporal(graph: Graph, branch: Branch, rows: str, step: int) -> str:
    """Convolve over the second dimension from the end, taps `step` rows apart."""
    weights, bias = graph.floats(branch.temporal), graph.floats(branch.bias)
    pads = [step, 0, step, 0]
    return graph.op("Conv", rows, weights, bias, kernel_shape=[3, 1], dilations=[step, 1], pads=pads)

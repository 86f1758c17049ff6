"""PP-OCRv6 detection: halve the frame, find the text, give its probability map as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from export import frames, shipped
from export.graph import BATCH, Graph
from export.samples import Samples, of_text
from export.spec import Evaluate, Files

METHOD = (
    "the shipped ONNX network, unoptimised, on frames that numpy halved by exact means of 2 x 2 pixels, its "
    "probabilities rounded to bytes in numpy; rendered lines of text on noise, and synthetic frames without any"
)
FILE = "PP-OCRv6_det_small.onnx"
_HEIGHT, _WIDTH = 768, 1280


def build(files: Files) -> onnx.ModelProto:
    """Write the graph from the uint8 frame [768, 1280] to the probability map [384, 640]."""
    network = shipped.load(shipped.paddle_file(files, FILE))
    graph = Graph("text_detection", shipped.opset(network))
    batch = graph.input("frames", "UINT8", [BATCH, _HEIGHT, _WIDTH, 3])
    pixels = shipped.blue_first(graph, batch)
    halved = graph.op("AveragePool", pixels, kernel_shape=[2, 2], strides=[2, 2])
    found = shipped.absorb(graph, network, shipped.centred(graph, halved))
    levels = graph.op("Round", graph.op("Mul", found, graph.floats(255.0)))
    levels = graph.op("Clip", levels, graph.floats(0.0), graph.floats(255.0))
    flat = graph.op("Reshape", levels, graph.ints(-1, _HEIGHT // 2, _WIDTH // 2))
    graph.output(
        "probability",
        "UINT8",
        [BATCH, _HEIGHT // 2, _WIDTH // 2],
        graph.op("Cast", flat, to=TensorProto.UINT8),
    )
    return graph.model()


def labels(files: Files) -> tuple[str, ...]:
    """This model has none."""
    return ()


def golden(files: Files) -> list[NDArray[np.uint8]]:
    """Return a frame with lines of several heights, and one without text."""
    pictures = [frames.text_frame(_HEIGHT, _WIDTH)[0], frames.synthetic(1, _HEIGHT, _WIDTH)[0]]
    return [picture[None] for picture in pictures]


def samples(files: Files) -> Samples:
    """Return frames of three clips with lines of text over them."""
    return of_text(files, _HEIGHT, _WIDTH, 12)


def reference(files: Files) -> Evaluate:
    """Return the evaluation that METHOD describes."""
    network = shipped.evaluator(shipped.paddle_file(files, FILE))

    def evaluate(batch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        quarters = batch.reshape(len(batch), _HEIGHT // 2, 2, _WIDTH // 2, 2, 3).astype(np.float32)
        found = network(shipped.centred_blue_first(quarters.mean(axis=(2, 4), dtype=np.float32)))
        return {"probability": np.round(found[:, 0] * 255).astype(np.uint8)}

    return evaluate

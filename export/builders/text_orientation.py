"""PP-OCR's line classifier: whether a line of text stands upright or upside down."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export import frames, shipped
from export.graph import BATCH, Graph
from export.samples import Samples, of_lines
from export.spec import Evaluate, Files
from export.specs.text import ORIENTATION

METHOD = "the shipped ONNX network, unoptimised, behind its normalisation in numpy; rendered lines, upright and turned"
FILE = "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
_HEIGHT, _WIDTH = 48, 192


def build(files: Files) -> onnx.ModelProto:
    """Write the graph from the uint8 line [48, 192] to the scores of 0 and 180 degrees."""
    network = shipped.load(shipped.paddle_file(files, FILE))
    graph = Graph("text_orientation", shipped.opset(network))
    batch = graph.input("frames", "UINT8", [BATCH, _HEIGHT, _WIDTH, 3])
    scores = shipped.absorb(graph, network, shipped.centred(graph, shipped.blue_first(graph, batch)))
    graph.output("scores", "FP32", [BATCH, 2], scores)
    return graph.model()


def labels(files: Files) -> tuple[str, ...]:
    """Return the turns in degrees, in the network's order."""
    return ("0", "180")


def golden(files: Files) -> list[NDArray[np.uint8]]:
    """Return 8 lines, every second one turned by 180 degrees."""
    lines = [frames.text_line(_HEIGHT, _WIDTH, text) for text in frames.WORDS[:8]]
    turned = [line[::-1, ::-1] if i % 2 else line for i, line in enumerate(lines)]
    return frames.batches(np.stack(turned), ORIENTATION.max_batch_size)


def samples(files: Files) -> Samples:
    """Return lines of text over pieces of frames, every second one turned."""
    return of_lines(files, _HEIGHT, (_WIDTH,), 64, turned=True)


def reference(files: Files) -> Evaluate:
    """Return the evaluation that METHOD describes."""
    network = shipped.evaluator(shipped.paddle_file(files, FILE))

    def evaluate(batch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return {"scores": network(shipped.centred_blue_first(batch))}

    return evaluate

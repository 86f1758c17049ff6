"""PP-OCRv6 recognition: the likeliest character of every step, for the caller's CTC collapse."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from export import frames, shipped
from export.errors import BuildError
from export.graph import BATCH, Graph
from export.samples import Samples, of_lines
from export.spec import Evaluate, Files

METHOD = (
    "the shipped ONNX network, unoptimised, behind its normalisation in numpy, then argmax and max in numpy; rendered "
    "lines of 160, 320, 640 and 960 pixels"
)
FILE = "PP-OCRv6_rec_small.onnx"
_HEIGHT = 48
WIDTHS = (160, 320, 640, 960)
BLANK = "<blank>"
_CLASSES = 18710


def build(files: Files) -> onnx.ModelProto:
    """Write the graph from the uint8 line [48, w], w a multiple of 8, to w / 8 steps."""
    network = shipped.load(shipped.paddle_file(files, FILE))
    graph = Graph("text_recognition", shipped.opset(network))
    batch = graph.input("frames", "UINT8", [BATCH, _HEIGHT, "width", 3])
    steps = shipped.absorb(graph, network, shipped.centred(graph, shipped.blue_first(graph, batch)))
    best = graph.op("ArgMax", steps, axis=2, keepdims=0)
    graph.output("indices", "INT32", [BATCH, "steps"], graph.op("Cast", best, to=TensorProto.INT32))
    graph.output("confidences", "FP32", [BATCH, "steps"], graph.op("ReduceMax", steps, axes=[2], keepdims=0))
    return graph.model()


def labels(files: Files) -> tuple[str, ...]:
    """Return a line per class: `<blank>`, the network's own alphabet, and the space, which PaddleOCR puts last.

    A line is the character itself; white space, which editors trim and readers overlook, is written `<U+XXXX>`.
    """
    network = shipped.load(shipped.paddle_file(files, FILE))
    alphabet = next((p.value for p in network.metadata_props if p.key == "character"), "").split("\n")
    characters = [*alphabet, " "]
    if len(characters) + 1 != _CLASSES or any(len(c) != 1 for c in characters):
        raise BuildError(f"expected {_CLASSES - 1} single characters, found {len(characters)}")
    return (BLANK, *(escaped(c) for c in characters))


def escaped(character: str) -> str:
    """Return a character as its line in labels.txt."""
    return f"<U+{ord(character):04X}>" if character.isspace() or not character.isprintable() else character


def golden(files: Files) -> list[NDArray[np.uint8]]:
    """Return one line for every width that callers use."""
    texts = (
        "Exit 42",
        "Breaking news 12:45",
        "The quick brown fox jumps over it",
        "x" * 9 + " Pack my box, 5 dozen jugs!",
    )
    return [frames.text_line(_HEIGHT, width, text)[None] for width, text in zip(WIDTHS, texts, strict=True)]


def samples(files: Files) -> Samples:
    """Return lines of text over pieces of frames, of every width that callers use."""
    return of_lines(files, _HEIGHT, WIDTHS, 64)


def reference(files: Files) -> Evaluate:
    """Return the evaluation that METHOD describes."""
    network = shipped.evaluator(shipped.paddle_file(files, FILE))

    def evaluate(batch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        steps = network(shipped.centred_blue_first(batch))
        return {"indices": steps.argmax(axis=2).astype(np.int32), "confidences": steps.max(axis=2)}

    return evaluate

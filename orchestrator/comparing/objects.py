"""Objects: classes where they are and nowhere else, and boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from orchestrator.comparing.answers import Answer, Both, Detection
from orchestrator.comparing.differences import Difference, Mark, Side
from orchestrator.comparing.measures import SAME_PLACE, Measure, Measures, alike, mean, paired, retrieval
from orchestrator.comparing.truth import Truth
from orchestrator.core.boxes import iou

PIXELS = 1000.0  # a side of the picture to the library that measures average precision


def accuracy(judged: Sequence[tuple[Answer, Truth]]) -> Measures:
    """Precision, recall and F1 of a class's presence in spans that have or lack it, recall by class, and average precision (COCO's
    50..95 % and at 50 % IoU) in the frames whose boxes are known."""
    hits: dict[str, int] = defaultdict(int)
    wanted: dict[str, int] = defaultdict(int)
    false = 0
    for answer, truth in judged:
        for label, known in truth.objects.items():
            frames = [each.frame for each in answer.objects if each.label == label]
            wanted[label] += len(known.present)
            hits[label] += sum(any(span.holds(frame) for frame in frames) for span in known.present)
            false += sum(any(span.holds(frame) for frame in frames) for span in known.absent)
    measures: dict[str, Measure] = {}
    right, all_wanted = sum(hits.values()), sum(wanted.values())
    if all_wanted or false:
        measures |= {f"presence {name}": each for name, each in retrieval(right, right + false, all_wanted).items()}
        measures |= {f"recall of {label}": Measure(hits[label] / n, n) for label, n in sorted(wanted.items()) if n}
    return measures | average_precision(judged)


def average_precision(judged: Sequence[tuple[Answer, Truth]]) -> dict[str, Measure]:
    """Of the boxes, where any are known: in every sampled frame with known boxes, of the classes that are known there."""
    labels = sorted({label for _, truth in judged for label, known in truth.objects.items() if known.boxes})
    if not labels:
        return {}
    import supervision  # slow to import (1 s)
    from supervision.metrics import MeanAveragePrecision

    numbers = {label: number for number, label in enumerate(labels)}

    def detections(found: Sequence[tuple[int, Any, float]]) -> Any:
        return supervision.Detections(
            xyxy=np.array([box for _, box, _ in found], np.float64).reshape(-1, 4) * PIXELS,
            class_id=np.array([number for number, _, _ in found], np.int64),
            confidence=np.array([score for _, _, score in found], np.float64),
        )

    metric, boxes = MeanAveragePrecision(), 0
    for answer, truth in judged:
        for frame in answer.sampled:
            known = {
                label: [box for held in each.boxes if held.span.holds(frame) for box in held.boxes]
                for label, each in truth.objects.items()
                if any(held.span.holds(frame) for held in each.boxes)
            }
            if known:
                found = [each for each in answer.objects if each.frame == frame and each.label in known]
                metric.update(
                    detections([(numbers[each.label], each.box, each.score) for each in found]),
                    detections([(numbers[label], box, 1.0) for label, true in known.items() for box in true]),
                )
                boxes += sum(map(len, known.values()))
    if not boxes:
        return {}
    result = metric.compute()
    return {
        "average precision": Measure(float(result.map50_95), boxes),
        "average precision at 50 %": Measure(float(result.map50), boxes),
    }


def agreement(both: Sequence[Both]) -> Measures:
    """Objects that both versions see, of one class at one place, and how well their boxes cover each other."""
    covers: list[float] = []
    seen = 0
    for pair in both:
        for a, b in _by_frame(pair).values():
            shared = _shared(a, b)
            covers += [iou(a[i].box, b[j].box) for i, j in shared]
            seen += len(a) + len(b)
    hits = len(covers)
    return {"same objects": alike(2 * hits, seen, of=seen - hits), "mean IoU of the same": mean(covers)}


def differences(pair: Both) -> Iterator[Difference]:
    """Frames with objects that one version alone sees; ``size``: the sum of their scores."""
    for frame, (a, b) in sorted(_by_frame(pair).items()):
        shared = _shared(a, b)
        in_a, in_b = {i for i, _ in shared}, {j for _, j in shared}
        only_a = [each for i, each in enumerate(a) if i not in in_a]
        only_b = [each for j, each in enumerate(b) if j not in in_b]
        if only_a or only_b:
            words = "; ".join(filter(None, (_words("A", only_a), _words("B", only_b))))
            size = sum(each.score for each in (*only_a, *only_b))
            yield Difference("objects", pair.clip, frame, size, words, _side(a, only_a), _side(b, only_b))


def _by_frame(pair: Both) -> dict[int, tuple[list[Detection], list[Detection]]]:
    found: dict[int, tuple[list[Detection], list[Detection]]] = defaultdict(lambda: ([], []))
    for number, answer in enumerate((pair.a, pair.b)):
        for each in answer.objects:
            found[each.frame][number].append(each)
    return found


def _shared(a: Sequence[Detection], b: Sequence[Detection]) -> list[tuple[int, int]]:
    return paired(a, b, lambda one, other: iou(one.box, other.box) if one.label == other.label else -1.0, SAME_PLACE)


def _words(version: str, only: Sequence[Detection]) -> str:
    return f"{version} alone sees {', '.join(each.label for each in only)}" if only else ""


def _side(found: Sequence[Detection], only: Sequence[Detection]) -> Side:
    return Side(marks=tuple(Mark(each.box, f"{each.label} {each.score:.2f}", each in only) for each in found))

"""The measures: 1 for the same answers, less for worse ones, by hand-counted cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export import registry
from export.accuracy import agreement, collapsed, edits, overlaps
from export.spec import Measure


def boxes(*found: tuple[float, int, tuple[float, float, float, float]]) -> dict[str, Any]:
    """One row of a detector with room for three."""
    padded = [*found, *[(0.0, -1, (0.0, 0.0, 0.0, 0.0))] * (3 - len(found))]
    scores, classes, corners = zip(*padded, strict=True)
    return {
        "scores": np.array([scores], np.float32),
        "classes": np.array([classes], np.int32),
        "boxes": np.array([corners], np.float32),
    }


LEFT, RIGHT = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)
PERSON, CAR = 0, 2


@pytest.mark.parametrize(
    ("got", "f1"),
    [
        (boxes((0.9, PERSON, LEFT), (0.8, CAR, RIGHT)), 1.0),
        (boxes((0.8, CAR, RIGHT), (0.7, PERSON, LEFT)), 1.0),
        (boxes((0.9, PERSON, LEFT), (0.4, CAR, RIGHT)), 1.0),
        (boxes((0.9, PERSON, LEFT)), 2 / 3),
        (boxes((0.9, PERSON, LEFT), (0.8, PERSON, RIGHT)), 0.5),
        (boxes((0.9, PERSON, LEFT), (0.8, CAR, RIGHT), (0.6, CAR, LEFT)), 0.8),
        (boxes(), 0.0),
    ],
    ids=["same", "reordered", "weaker", "missed", "misnamed", "invented", "blind"],
)
def test_boxes(got: dict[str, Any], f1: float) -> None:
    wanted = boxes((0.9, PERSON, LEFT), (0.8, CAR, RIGHT))
    assert agreement("boxes", [got], [wanted])["f1"] == pytest.approx(f1)


def test_nothing_found_where_nothing_is_agrees() -> None:
    assert agreement("boxes", [boxes((0.3, CAR, LEFT))], [boxes()])["f1"] == 1.0


def test_overlap_is_of_areas() -> None:
    half = overlaps(np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 1.0, 0.5], [2.0, 2.0, 3.0, 3.0]]))
    assert half.tolist() == [[0.5, 0.0]]


def test_classes() -> None:
    def answer(classes: list[int], scores: list[float]) -> dict[str, Any]:
        vector = np.ones((1, 4), np.float32) / 2
        return {"classes": np.array([classes]), "scores": np.array([scores], np.float32), "vector": vector}

    wanted = [answer([1, 2], [0.6, 0.4]), answer([3, 4], [0.9, 0.1])]
    got = [answer([2, 1], [0.5, 0.4]), answer([3, 4], [0.9, 0.1])]
    found = agreement("classes", got, wanted)
    assert found == pytest.approx({"top1": 0.5, "score_error": 0.1, "cosine": 1.0, "cosine_least": 1.0})


def test_scores() -> None:
    wanted, got = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.8, 0.2], [0.6, 0.4]])
    found = agreement("scores", [{"scores": got}], [{"scores": wanted}])
    assert found == pytest.approx({"top1": 0.5, "score_error": 0.15, "score_error_most": 0.2})


def test_cuts() -> None:
    wanted, got = np.zeros((1, 9), np.float32), np.zeros((1, 9), np.float32)
    wanted[0, [2, 6]], got[0, [2, 7]] = 0.9, 0.8
    assert agreement("cuts", [{"cut": got}], [{"cut": wanted}])["f1"] == 0.5


def test_text_is_compared_as_it_reads() -> None:
    steps = [[0, 5, 5, 0, 5, 7, 0], [5, 0, 0, 5, 0, 7, 7]]
    assert [collapsed(np.array(s)) for s in steps] == [[5, 5, 7]] * 2
    assert edits([1, 2, 3, 4], [1, 3, 4, 5]) == 2
    wanted, got = {"indices": np.array(steps[:1])}, {"indices": np.array([[5, 5, 0, 0, 0, 7, 0]])}
    assert agreement("text", [got], [wanted]) == pytest.approx({"equal": 0.0, "characters": 2 / 3})


def test_map() -> None:
    wanted, got = np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2), np.uint8)
    wanted[0, 0], got[0, 0, 0] = 255, 255
    found = agreement("map", [{"probability": got}], [{"probability": wanted}])
    assert found == pytest.approx({"f1": 2 / 3, "error": 0.25})


@pytest.mark.parametrize("spec", registry.SPECS, ids=lambda s: s.name)
def test_every_model_has_a_measure_of_its_outputs_with_floors_of_its_own(spec: registry.ModelSpec) -> None:
    """Of answers that are the model's shape, the same are in full agreement."""
    dtypes = {"FP32": np.float32, "INT32": np.int32, "UINT8": np.uint8}
    rng = np.random.default_rng(5)
    answers = {
        o.name: rng.integers(1, 200, (2, *(6 if d == -1 else d for d in o.dims))).astype(dtypes[o.dtype])
        for o in spec.outputs
    }
    if "boxes" in answers:
        answers["boxes"] = np.sort(rng.random(answers["boxes"].shape), axis=2)
    measure: Measure = spec.agreement.measure
    found = agreement(measure, [answers], [answers])
    assert spec.agreement.floors
    assert all(found[name] == pytest.approx(1) and 0 < least < 1 for name, least in spec.agreement.floors)

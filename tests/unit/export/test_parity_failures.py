"""Parity fails by name: other outputs, another shape, too far away, not a number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from export import registry
from export.errors import OutputsMismatch, ParityError, ShapeMismatch, ToleranceExceeded
from export.spec import TensorSpec
from export.verify import compare

SPEC = dataclasses.replace(
    registry.SPECS[0],
    name="toy",
    outputs=(TensorSpec("scores", "FP32", (2,), 1e-3), TensorSpec("indices", "INT32", (-1,))),
)
BATCH = np.zeros((1, 4), np.uint8)


def answer(scores: object = (0.5, 0.25), indices: object = (1, 2, 3)) -> dict[str, NDArray[np.generic]]:
    return {"scores": np.array([scores], np.float32), "indices": np.array([indices], np.int32)}


def measured(got: dict[str, NDArray[np.generic]]) -> list[float]:
    return compare(SPEC, lambda _: got, lambda _: answer(), [BATCH])


def test_what_is_within_the_tolerance_is_measured() -> None:
    assert measured(answer(scores=(0.5005, 0.25))) == pytest.approx([5e-4, 0.0], abs=1e-7)


@pytest.mark.parametrize(
    ("got", "error", "message"),
    [
        ({"scores": answer()["scores"]}, OutputsMismatch, "indices"),
        (answer(scores=(0.5, 0.25, 0.1)), ShapeMismatch, "toy.scores"),
        (answer(indices=(1, 2)), ShapeMismatch, "toy.indices"),
        ({**answer(), "indices": np.array([[1, 2, 3]], np.int64)}, ShapeMismatch, "int64"),
        (answer(scores=(0.502, 0.25)), ToleranceExceeded, "0.002"),
        (answer(scores=(np.nan, 0.25)), ToleranceExceeded, "nan"),
        (answer(indices=(1, 2, 4)), ToleranceExceeded, "toy.indices"),
    ],
)
def test_each_difference_has_its_error(
    got: dict[str, NDArray[np.generic]], error: type[ParityError], message: str
) -> None:
    with pytest.raises(error, match=message):
        measured(got)

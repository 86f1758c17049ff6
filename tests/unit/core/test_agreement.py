"""When two answers are the same to a service that does not know what they mean."""

import numpy as np
import pytest

from orchestrator.core.agreement import agree, alike

SCORES = np.linspace(0, 1, 40, dtype=np.float32).reshape(4, 10)
CLASSES = np.arange(40, dtype=np.int32).reshape(4, 10)


def test_an_answer_agrees_with_itself():
    assert agree({"scores": SCORES, "classes": CLASSES}, {"scores": SCORES, "classes": CLASSES})


def test_noise_within_the_range_agrees_and_beyond_does_not():
    noise = np.random.default_rng(0).uniform(-1, 1, SCORES.shape).astype(np.float32)
    assert alike(SCORES, SCORES + 0.09 * noise) == 1
    assert not agree({"scores": SCORES}, {"scores": SCORES + 0.5 * noise})
    assert not agree({"scores": SCORES}, {"scores": SCORES[::-1]})


def test_the_measure_is_the_range_of_values_not_their_size():
    assert alike(SCORES * 1000, SCORES * 1000 + 50) == 1
    assert alike(SCORES, SCORES + 50) == 0


def test_classes_may_change_places_but_not_names():
    assert alike(CLASSES, CLASSES[:, ::-1]) == 1
    assert alike(CLASSES, CLASSES[::-1]) == 0
    two_others = CLASSES.copy()
    two_others[:, 8:] = -1
    assert agree({"classes": CLASSES}, {"classes": two_others})
    two_others[:, 6:] = -1
    assert not agree({"classes": CLASSES}, {"classes": two_others})


def test_long_rows_of_integers_are_compared_in_order():
    row = np.arange(100)[None]
    assert alike(row, row) == 1
    assert alike(row, row[:, ::-1]) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_like_nothing_else(value: float):
    assert alike(SCORES, np.full_like(SCORES, value)) == 0
    assert alike(np.full_like(SCORES, value), SCORES) == 0
    assert alike(np.full_like(SCORES, value), np.full_like(SCORES, value)) == 1


def test_other_names_and_shapes_disagree():
    assert not agree({"a": SCORES}, {"b": SCORES})
    assert not agree({"a": SCORES}, {})
    assert alike(SCORES, SCORES[:2]) == 0


def test_nothing_is_like_nothing():
    empty = np.zeros((0, 10), np.float32)
    assert alike(empty, empty) == 1
    constant = np.full((2, 3), 0.5, np.float32)
    assert alike(constant, constant) == 1
    assert alike(constant, constant + 0.1) == 0

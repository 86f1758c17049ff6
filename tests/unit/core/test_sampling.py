"""Sampling is exact and anchored at the first frame."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.sampling import EVERY_FRAME, Sampling


def taken(sampling: Sampling, pts: list[int], time_base: Fraction) -> list[int]:
    return [p for i, p in enumerate(pts) if sampling.takes(p, pts[i - 1] if i else None, pts[0], time_base)]


def test_every_frame_takes_all():
    assert taken(EVERY_FRAME, [0, 7, 9], Fraction(1, 25)) == [0, 7, 9]


def test_two_fps_of_25_fps():
    assert taken(Sampling(Fraction(2)), list(range(50)), Fraction(1, 25)) == [0, 13, 25, 38]


def test_a_slow_source_gives_each_frame_once():
    assert taken(Sampling(Fraction(10)), [0, 1, 2], Fraction(1)) == [0, 1, 2]


@given(
    fps=st.fractions(min_value=Fraction(1, 10), max_value=60, max_denominator=1001),
    deltas=st.lists(st.integers(1, 5000), min_size=1, max_size=200),
    start=st.integers(-100_000, 100_000),
)
def test_each_tick_has_the_first_frame_at_or_after_it(fps, deltas, start):
    time_base = Fraction(1, 90_000)
    pts = [start + sum(deltas[:i]) for i in range(len(deltas))]
    chosen = set(taken(Sampling(fps), pts, time_base))
    expected = set()
    tick = 0
    while (due := Fraction(tick) / fps) <= (pts[-1] - pts[0]) * time_base:
        expected.add(next(p for p in pts if (p - pts[0]) * time_base >= due))
        tick += 1
    assert chosen == expected


def test_bad_rate():
    with pytest.raises(ValueError, match="positive"):
        Sampling(Fraction(0))

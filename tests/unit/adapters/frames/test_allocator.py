"""First-fit arithmetic: nothing overlaps, everything comes home."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.frames.allocator import PAGE, FirstFit, pages

CAPACITY = 16 * PAGE


def test_pages_round_up():
    assert [pages(n) for n in (0, 1, PAGE, PAGE + 1)] == [PAGE, PAGE, PAGE, 2 * PAGE]


@pytest.mark.parametrize("capacity", [0, -PAGE, PAGE + 1])
def test_a_capacity_is_whole_pages(capacity: int):
    with pytest.raises(ValueError, match=str(capacity)):
        FirstFit(capacity)


def test_an_extent_is_returned_once():
    fit = FirstFit(CAPACITY)
    offset = fit.take(1)
    assert offset is not None
    fit.give(offset)
    with pytest.raises(KeyError):
        fit.give(offset)


def test_the_lowest_hole_is_taken_first():
    fit = FirstFit(CAPACITY)
    first, second, third = (fit.take(2 * PAGE) for _ in range(3))
    fit.give(first)  # type: ignore[arg-type]
    assert fit.take(PAGE) == first
    assert fit.take(2 * PAGE) == 6 * PAGE  # the rest of the hole is too small
    assert (second, third) == (2 * PAGE, 4 * PAGE)


@given(st.lists(st.one_of(st.integers(1, CAPACITY), st.integers(-20, -1)), max_size=80))
def test_no_overlap_and_all_comes_home(steps: list[int]):
    """Positive steps take that many bytes; negative ones give back the n-th extent still taken."""
    fit = FirstFit(CAPACITY)
    taken: dict[int, int] = {}
    for step in steps:
        if step > 0:
            offset = fit.take(step)
            if offset is None:
                gaps = [CAPACITY] if not taken else _gaps(taken)
                assert max(gaps, default=0) < pages(step), "refused although it fits"
            else:
                assert offset % PAGE == 0
                taken[offset] = pages(step)
        elif taken:
            offset = sorted(taken)[-step % len(taken)]
            fit.give(offset)
            del taken[offset]
        ends = 0
        for offset in sorted(taken):
            assert offset >= ends
            ends = offset + taken[offset]
        assert ends <= CAPACITY
        assert fit.in_use == sum(taken.values())
    for offset in taken:
        fit.give(offset)
    assert fit.in_use == 0
    assert fit.take(CAPACITY) == 0, "holes were not joined"


def _gaps(taken: dict[int, int]) -> list[int]:
    gaps, end = [], 0
    for offset in sorted(taken):
        gaps.append(offset - end)
        end = offset + taken[offset]
    return [*gaps, CAPACITY - end]

"""Segments: contiguous, half-open, on boundaries, bounded in length, whatever the portions they arrive in."""

import itertools
import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.segmenting import Boundary, PlannedSegment, Segmenter
from orchestrator.core.timeline import FrameTable

MS = Fraction(1, 1000)


def plan(pts: list[int], cuts: list[int], max_ms: int, portions: list[int]) -> list[PlannedSegment]:
    table = FrameTable()
    segmenter = Segmenter(table, MS, max_ms * 1_000_000)
    planned: list[PlannedSegment] = []
    known = 0
    for end in sorted({min(p, len(pts)) for p in portions}):
        table.extend(pts[known:end])
        # The shot model lags behind the frames by up to 3.
        settled_before, settled = max(0, known - 3), max(0, end - 3)
        segmenter.add([Boundary(c, 0.9) for c in cuts if settled_before <= c < settled], settled)
        planned += iter(segmenter.next, None)
        known = end
    table.extend(pts[known:])
    table.finish(pts[-1] + 40)
    settled = max(0, known - 3)
    segmenter.add([Boundary(c, 0.9) for c in cuts if settled <= c], len(pts))
    planned += iter(segmenter.next, None)
    assert segmenter.done
    return planned


@given(
    deltas=st.lists(st.integers(1, 400), min_size=1, max_size=120),
    cuts=st.sets(st.integers(1, 119), max_size=12),
    max_ms=st.integers(1000, 5000),
    portions=st.lists(st.integers(0, 120), max_size=6),
)
def test_segments_tile_the_media_and_do_not_depend_on_portions(deltas, cuts, max_ms, portions):
    pts = [sum(deltas[:i]) for i in range(len(deltas))]
    inside = sorted(c for c in cuts if c < len(pts))
    segments = plan(pts, inside, max_ms, portions)
    assert segments == plan(pts, inside, max_ms, [])
    assert [s.index for s in segments] == list(range(len(segments)))
    assert segments[0].interval.start_frame == 0
    assert segments[-1].interval.end_frame == len(pts)
    for before, after in itertools.pairwise(segments):
        assert before.interval.end_frame == after.interval.start_frame
        assert before.interval.end_pts == after.interval.start_pts
    assert [s.final for s in segments] == [False] * (len(segments) - 1) + [True]
    starts = {s.interval.start_frame for s in segments}
    assert set(inside) <= starts
    for s in segments:
        # Bounded: the last frame of a segment begins before the limit.
        assert pts[s.interval.end_frame - 1] - s.interval.start_pts < max_ms
        assert s.starts_shot == (s.interval.start_frame in {0, *inside})


def test_a_cut_exactly_at_the_limit_is_a_cut_and_not_a_split():
    segments = plan(list(range(0, 3000, 100)), [10], 1000, [])
    assert segments[1].starts_shot
    assert segments[1].interval.start_frame == 10


def test_a_boundary_below_settled_frames_is_refused():
    table = FrameTable()
    segmenter = Segmenter(table, MS, 1_000_000_000)
    segmenter.add([], 50)
    with pytest.raises(ValueError, match="settled"):
        segmenter.add([Boundary(10, 0.9)], 60)


@given(
    deltas=st.lists(st.integers(1, 400), min_size=1, max_size=80),
    cuts=st.dictionaries(st.integers(1, 79), st.floats(0, 1), max_size=12),
    max_ms=st.integers(1000, 5000),
    lead=st.integers(0, 60),
)
def test_a_restored_segmenter_plans_the_rest(deltas, cuts, max_ms, lead):
    """Behind every segment, whatever was known by then of what follows."""
    pts = list(itertools.accumulate(deltas))
    boundaries = [Boundary(c, cuts[c]) for c in sorted(cuts) if c < len(pts)]

    def segmenter(known: int) -> tuple[FrameTable, Segmenter]:
        table = FrameTable()
        table.extend(pts[:known])
        return table, Segmenter(table, MS, max_ms * 1_000_000)

    def rest(table: FrameTable, made: Segmenter, known: int) -> list[PlannedSegment]:
        table.extend(pts[len(table) :])
        table.finish(pts[-1] + 40)
        made.add([b for b in boundaries if b.frame >= known], len(pts))
        return list(iter(made.next, None))

    whole = rest(*segmenter(0), 0)
    for known in range(0, len(pts) + 1, 7):
        table, first = segmenter(min(len(pts), known + lead))
        first.add([b for b in boundaries if b.frame < known], known)
        begun = []
        while (planned := first.next()) is not None:
            begun.append(planned)
            state = json.loads(json.dumps(first.state()))
            new_table, second = segmenter(0)
            second.restore(state)
            assert second.next() is None, "the timeline grows anew"
            assert begun + rest(new_table, second, known) == whole
        assert begun + rest(table, first, known) == whole


WRONG = {"start": 0, "index": 0, "shot_index": 0, "starts_shot": False, "score": 0.1, "boundaries": [], "done": True}


@pytest.mark.parametrize("part", WRONG)
def test_every_part_of_the_state_counts(part):
    """Negative control: without one part the answer is another. (``settled`` only makes it come earlier.)"""
    pts = list(range(0, 8000, 40))
    cuts = [Boundary(30, 0.7), Boundary(42, 0.8), Boundary(110, 0.9)]

    def made(known: int) -> tuple[FrameTable, Segmenter]:
        table = FrameTable()
        table.extend(pts[:known])
        return table, Segmenter(table, MS, 1_000_000_000)

    def rest(state) -> list[PlannedSegment]:
        table, segmenter = made(0)
        segmenter.restore(state)
        table.extend(pts)
        segmenter.add([cut for cut in cuts if cut.frame >= 60], 200)
        table.finish(8000)
        return [] if segmenter.done else list(iter(segmenter.next, None))

    _, segmenter = made(80)
    segmenter.add([cut for cut in cuts if cut.frame < 60], 60)
    segmenter.next(), segmenter.next()  # 0..25, 25..30: the next begins with a cut
    state = dict(segmenter.state())
    right = rest(state)
    assert len(right) > 5
    assert rest(state | {part: WRONG[part]}) != right

"""Windows cover every frame once; the gate lets every change through; scores become cuts."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analyzers.shots import Options
from orchestrator.core.segmenting import Boundary
from orchestrator.core.shots import CORE, LEAD, Block, CutFinder, Gate, Verdict, Window


def windows(frames: int, verdict=lambda core: Verdict((), (core.core_start, core.core_end))) -> list[Window]:
    blocks = (Block(number) for number in range(frames))
    return [w for block in blocks if block.ready(frames, finished=True) for w in block.windows(frames, verdict)]


def padded(frames: int) -> list[int]:
    """What TransNetV2's predict_frames shows: copies of the first frame before, of the last one behind."""
    return [0] * LEAD + list(range(frames)) + [frames - 1] * (LEAD + CORE - frames % CORE)


@pytest.mark.parametrize("alone", [0, 1, 2])
def test_windows_are_those_of_the_reference_inference_or_two_of_them_joined(alone):
    frames, shown = 130, padded(130)

    def whole(core):
        return Verdict((), (core.core_start, core.core_end) if core.core_start == alone * CORE else None)

    for window in windows(frames, whole):
        doubted = window.core_start == alone * CORE
        expected = shown[window.core_start : window.core_end + 2 * LEAD] if doubted else []
        assert window.shown(frames).tolist() == expected
        assert window.core_end - window.core_start == CORE


def test_neighbours_share_a_window():
    assert [(w.core_start, w.core_end) for w in windows(260)] == [(0, 50), (50, 150), (150, 250), (250, 300)]


@pytest.mark.parametrize(("start", "shared"), [(149, False), (120, False), (119, True), (100, True)])
def test_neighbours_share_a_window_only_where_that_shows_fewer_frames(start, shared):
    """The first core is in doubt until frame 70, the second one from ``start`` on."""

    def some(core):
        return Verdict((), (55, 70) if core.core_start == 50 else (start, 150) if core.core_start == 100 else None)

    shown = [w.shown(260).tolist() for w in windows(260, some) if w.verdict.doubt]
    second = 100 if start == 100 else 125 if start >= 125 else 100  # whole steps
    apart = [list(range(30, 105)), list(range(second - 25, 175))]
    assert shown == ([list(range(25, 175))] if shared else apart)
    assert len(shown[0]) <= sum(len(frames) for frames in apart)


@pytest.mark.parametrize(
    ("doubt", "rounded"),
    [((60, 84), (60, 85)), ((50, 51), (50, 75)), ((80, 90), (75, 100)), ((60, 90), (50, 100)), ((50, 100), (50, 100))],
)
def test_doubt_comes_in_whole_steps_within_the_core(doubt, rounded):
    found = Window(50, 100, Verdict((52, 95), doubt)).rounded().verdict
    assert found.doubt == rounded
    assert found.cuts == tuple(cut for cut in (52, 95) if not rounded[0] < cut <= rounded[1])


@given(st.integers(1, 400), st.dictionaries(st.integers(0, 8), st.tuples(st.integers(0, 49), st.integers(1, 50))))
def test_every_frame_is_decided_once_and_by_the_model_where_it_must(frames, doubts):
    asked = set()

    def verdict(core):
        number = core.core_start // CORE
        if number not in doubts:
            return Verdict((core.core_start + 1,))
        start = core.core_start + doubts[number][0]
        end = min(core.core_end, start + doubts[number][1])
        asked.update(range(start, end))
        return Verdict((), (start, end))

    decided = {}
    for window in windows(frames, verdict):
        shown = window.shown(frames)
        scores = window.scores(np.full(len(shown), 0.5, np.float32))
        for frame, score in zip(range(window.core_start, window.core_end), scores, strict=True):
            assert frame not in decided
            decided[frame] = score
    assert set(range(frames)) <= set(decided)
    assert {frame for frame, score in decided.items() if score == 0.5} >= asked
    for number in range(-(-frames // CORE)):
        if number not in doubts:
            assert decided[number * CORE] == 1.0


def test_a_growing_source_waits_for_the_context():
    assert not Block(0).ready(74, finished=False)
    assert Block(0).ready(75, finished=False)
    assert not Block(1).ready(174, finished=False)
    assert Block(1).ready(175, finished=False)


def still(n: int, level: int = 100) -> np.ndarray:
    return np.full((n, 27, 48, 3), level, np.uint8)


def scene(seed: int, shift: int = 0) -> np.ndarray:
    """A picture of coloured stripes, moved by ``shift`` pixels."""
    stripes = np.random.default_rng(seed).integers(0, 256, (27, 12, 3)).repeat(4, axis=1)
    return np.roll(stripes, shift, axis=1).astype(np.uint8)


def pan(seed: int, n: int) -> np.ndarray:
    return np.stack([scene(seed, i) for i in range(n)])


def dissolve(n: int) -> np.ndarray:
    mix = np.linspace(0, 1, n)[:, None, None, None]
    return ((1 - mix) * scene(1) + mix * scene(2)).astype(np.uint8)


@pytest.mark.parametrize(
    ("frames", "opens"),
    [
        (still(63), False),
        (still(63) + np.random.default_rng(0).integers(0, 3, (63, 27, 48, 3), dtype=np.uint8), False),
        (pan(1, 63), False),
        (np.concatenate([pan(1, 30), pan(2, 33)]), True),
        (np.concatenate([still(30), still(33, 104)]), True),
        (np.concatenate([still(20), dissolve(12), np.stack([scene(2)] * 31)]), True),
        (dissolve(63), True),
        (still(1), False),
        (np.concatenate([still(1), still(1, 200)]), True),
    ],
)
def test_gate(frames, opens):
    options = Options()
    judged = Gate(options.gate_step, options.gate_jump, options.gate_drift).judge(frames)
    assert judged == Verdict((), (0, len(frames)) if opens else None)


def test_a_gate_of_zero_opens_for_any_change():
    frames = still(60)
    frames[30, 0, 0, 0] += 1
    assert Gate(0.0, 0.0, 0.0).judge(frames) == Verdict((), (0, 60))


CALM = [np.clip(scene(seed, 0).astype(int) // 2 + 60, 0, 255).astype(np.uint8) for seed in range(5)]


def shots_of(*lengths: int) -> np.ndarray:
    """Calm scenes of so many frames, one behind the other, with a little noise."""
    frames = np.concatenate([np.stack([CALM[number % 5]] * length) for number, length in enumerate(lengths)])
    noise = np.random.default_rng(1).integers(0, 3, frames.shape)
    return (frames + noise).astype(np.uint8)


def flash(at: int, length: int) -> np.ndarray:
    frames = shots_of(63)
    frames[at : at + length] = 250
    return frames


def judge(frames: np.ndarray, core: slice = slice(None)) -> Verdict:
    options = Options()
    return Gate(options.gate_step, options.gate_jump, options.gate_drift, options.gate_sure).judge(frames, core)


def faint(frames: np.ndarray) -> np.ndarray:
    return (frames // 8 + 100).astype(np.uint8)


@pytest.mark.parametrize(
    ("frames", "cuts", "doubt"),
    [
        (shots_of(63), (), None),
        (shots_of(30, 33), (30,), None),
        (shots_of(20, 15, 28), (20, 35), None),
        (shots_of(30, 3, 30), (), (18, 45)),  # too near to each other
        (flash(30, 1), (), (18, 43)),
        (flash(30, 6), (), (18, 48)),
        (faint(shots_of(30, 33)), (), (18, 42)),  # a small jump, in a dark room perhaps
        (np.concatenate([shots_of(20), dissolve(12), shots_of(31)]), (), (8, 32)),
        (np.concatenate([shots_of(12), faint(shots_of(38, 30))]), (12,), (38, 62)),  # one is plain, one is not
    ],
    ids=["quiet", "cut", "two cuts", "three frames", "flash", "lasting flash", "faint", "dissolve", "both"],
)
def test_plain_cuts_need_no_model(frames, cuts, doubt):
    assert judge(frames) == Verdict(cuts, doubt)


def test_of_a_picture_that_moves_on_by_itself_nobody_can_be_sure():
    found = judge(np.concatenate([shots_of(20), pan(2, 43)]))
    assert found.cuts == ()
    assert found.doubt is not None
    assert found.doubt[0] <= 8


def test_a_gradual_change_is_shown_as_far_as_it_reaches_into_the_core():
    frames = np.concatenate([np.stack([CALM[0]] * 100), np.stack([CALM[1]] * 100)]).astype(float)
    mix = np.clip((np.arange(200) - 90) / 20, 0, 1)[:, None, None, None]
    frames = ((1 - mix) * CALM[0] + mix * CALM[1]).astype(np.uint8)
    whole = judge(frames)
    assert whole.cuts == ()
    assert whole.doubt is not None
    assert whole.doubt[0] <= 90 < 110 <= whole.doubt[1]
    assert judge(frames, slice(50, 100)).doubt == (whole.doubt[0], 100)
    assert judge(frames, slice(100, 150)).doubt == (100, whole.doubt[1])
    assert judge(frames, slice(0, 50)) == Verdict()


def test_cuts_beside_the_core_are_another_windows():
    frames = shots_of(10, 40, 13)
    assert judge(frames, slice(12, 49)) == Verdict()
    assert judge(frames, slice(9, 49)) == Verdict((10,))
    assert judge(frames, slice(10, 50)) == Verdict((50,))
    assert judge(np.concatenate([flash(5, 1)[:10], shots_of(53)]), slice(18, 49)) == Verdict()


def test_without_being_sure_every_cut_is_the_models():
    frames = shots_of(30, 33)
    assert Gate(2.0, 2.5, 0.15).judge(frames) == Verdict((), (0, 63))
    assert Gate(2.0, 2.5, 0.15).judge(frames, slice(12, 50)) == Verdict((), (12, 50))


def test_plain_cuts_become_scores():
    scores = Window(50, 100, Verdict((51, 80, 100))).scores()
    assert scores.nonzero()[0].tolist() == [0, 29, 49]
    assert CutFinder(0.5).feed(scores) == [Boundary(1, 1.0), Boundary(30, 1.0)]


def test_the_model_is_heard_where_there_is_doubt_alone():
    window = Window(50, 100, Verdict((60,), (70, 80)))
    answer = np.arange(10 + 2 * LEAD, dtype=np.float32)
    scores = window.scores(answer)
    assert scores[20:30].tolist() == answer[LEAD:-LEAD].tolist()
    assert scores[9] == 1.0
    assert scores.sum() == 1.0 + answer[LEAD:-LEAD].sum()


def test_cuts_begin_after_the_peak():
    scores = np.zeros(100, np.float32)
    scores[9] = 0.9
    scores[40:46] = [0.6, 0.7, 0.95, 0.8, 0.6, 0.55]
    finder = CutFinder(0.5)
    assert finder.feed(scores[:43]) == [Boundary(10, pytest.approx(0.9))]
    assert finder.settled == 43  # the open run's peak so far is frame 42
    assert finder.feed(scores[43:], last=True) == [Boundary(43, pytest.approx(0.95))]


def test_a_transition_on_the_last_frame_is_no_cut():
    assert CutFinder(0.5).feed([0.1, 0.9], last=True) == []
    assert CutFinder(0.5).feed([0.9, 0.8], last=True) == [Boundary(1, 0.9)]


@given(st.integers(0, 400))
def test_what_is_judged_next_follows_on_what_is_decided(frames):
    """Whatever number of cores has been decided, the cores that follow are the rest of all cores."""
    cores = -(-frames // CORE)
    block, following = Block.after(frames), []
    for _ in range(4):
        following += [core.core_start // CORE for core in block.cores]
        block = block.next
    assert following == list(range(cores, cores + len(following)))


@given(
    st.lists(st.floats(0, 1, width=32), max_size=80),
    st.integers(0, 80),
)
def test_a_restored_finder_goes_on(scores, at):
    at = min(at, len(scores))
    whole, first, second = CutFinder(0.5), CutFinder(0.5), CutFinder(0.5)
    cuts = first.feed(scores[:at])
    second.restore(json.loads(json.dumps(first.state())))
    assert second.settled == first.settled
    assert cuts + second.feed(scores[at:], last=True) == whole.feed(scores, last=True)
    assert second.decided == len(scores)

"""Tracks that go on in another process: the same ids and points, from the detections of the shot so far."""

import json

import numpy as np
import pytest

from orchestrator.analyzers.base import Observation, Resumable
from orchestrator.analyzers.objects import Detections, Objects, Options
from orchestrator.core.exact import decode_array, encode_array
from orchestrator.core.results import At
from orchestrator.core.segmenting import PlannedSegment
from orchestrator.core.timeline import Interval
from tests.support.fakes import media

SEGMENTS = [True, False, False, True, False, False, False]  # whether each starts a shot
EMPTY = 1  # too short to hold a sampled frame
LENGTH = 100


def seen(index: int) -> list[Observation[Detections]]:
    """Up to four objects of two classes that walk, meet, fade and vanish for a while."""
    found = []
    for frame in range(index * LENGTH, (index + (index != EMPTY)) * LENGTH, 12):
        dice = np.random.default_rng(frame)
        drift = frame / 900 + dice.normal(0, 0.004, 4)
        boxes = np.array(
            [[x, y, x + 0.1, y + 0.12] for x, y in zip(drift, [0.1, 0.16, 0.5, 0.52], strict=True)], np.float32
        )
        scores = dice.uniform(0.2, 1, 4).astype(np.float32)
        kept = dice.uniform(size=4) < 0.85
        classes = np.array([0, 0, 1, 1], np.int32)
        found.append(Observation(At(frame, frame * 40), Detections(boxes[kept], scores[kept], classes[kept]), False))
    return found


def made() -> Objects:
    analyzer = Objects(Options(), ["person", "bicycle"])
    analyzer.open(media())
    return analyzer


def close(analyzer: Objects, index: int):
    interval = Interval(index * LENGTH, (index + 1) * LENGTH, index * LENGTH * 40, (index + 1) * LENGTH * 40)
    return analyzer.close(PlannedSegment(index, interval, 0, SEGMENTS[index], 1.0, False), seen(index))


@pytest.fixture(scope="module")
def whole():
    """What every segment is answered, and the memos that count behind it, as a store gives them back."""
    analyzer, memos, out = made(), [], []
    assert isinstance(analyzer, Resumable)
    for index, starts in enumerate(SEGMENTS):
        tracks = close(analyzer, index)
        memos = [] if starts else memos
        memos = [*memos, json.loads(json.dumps(analyzer.memo()))]
        out.append((tracks, memos))
    return out


@pytest.mark.parametrize("done", range(1, len(SEGMENTS)))
def test_the_tracks_go_on(whole, done):
    analyzer = made()
    analyzer.recall(whole[done - 1][1])
    for index in range(done, len(SEGMENTS)):
        assert close(analyzer, index) == whole[index][0]
        assert json.loads(json.dumps(analyzer.memo())) == whole[index][1][-1]


@pytest.mark.parametrize("forget", [lambda memos: [], lambda memos: memos[1:], lambda memos: memos[:-1]])
def test_every_memo_counts(whole, forget):
    """Negative control."""
    analyzer = made()
    analyzer.recall(forget(whole[5][1]))
    assert close(analyzer, 6) != whole[6][0]


def test_arrays_survive_json_bit_for_bit():
    for array in (
        np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
        np.array([np.pi, -0.0, 5e-324, np.inf]),
        np.zeros((0, 4), np.float32),
        np.arange(6, dtype=np.int32)[::2],
    ):
        back = decode_array(json.loads(json.dumps(encode_array(array))))
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    with pytest.raises(ValueError):
        decode_array(["O", [1], ""])

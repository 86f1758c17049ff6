"""Which frames a run must answer, and clips made long by remuxing."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from orchestrator.core.sampling import Sampling
from tests.benchmarks.footage import loop, loops_for, wanted
from tests.media.encode import Encoding, encode


def test_frames_that_are_due() -> None:
    assert wanted(5, 0) == [0, 1, 2, 3, 4]
    assert wanted(11, 5) == [0, 5, 10]
    assert wanted(51, 2) == [0, 13, 25, 38, 50]


@pytest.mark.parametrize("fps", [2, 3, 5, 7, 24])
def test_they_are_those_that_the_service_promises(fps: int) -> None:
    from fractions import Fraction

    sampling, base = Sampling(Fraction(fps)), Fraction(1, 25)
    taken = [index for index in range(500) if sampling.takes(index, index - 1 if index else None, 0, base)]
    assert wanted(500, fps) == taken


@pytest.mark.parametrize(("seconds", "each", "loops"), [(1, 2.0, 1), (10, 2.5, 4), (10, 1.1, 10), (100, 1.0, 112)])
def test_loops_reach_the_length_without_passing_it_by_a_quarter(seconds: float, each: float, loops: int) -> None:
    assert loops_for(seconds, each) == loops
    assert seconds <= loops * each <= max(1.25 * seconds, each) * 1.0001


def test_a_looped_clip_repeats_every_picture_at_an_even_pace(tmp_path: Path) -> None:
    shades = [10 * shade for shade in range(24)]
    pictures = (np.full((64, 64, 3), shade, np.uint8) for shade in shades)
    encode(tmp_path / "one.mp4", pictures, Encoding(gop=12, b_frames=3))
    assert loop(tmp_path / "one.mp4", 3, tmp_path / "three.mp4") == 72
    with av.open(str(tmp_path / "three.mp4")) as media:
        stream = media.streams.video[0]
        frames = [
            (frame.pts * stream.time_base, frame.to_ndarray(format="gray").mean()) for frame in media.decode(stream)
        ]
    times, seen = zip(*frames, strict=True)
    assert [round(25 * (time - times[0]), 6) for time in times] == list(range(72))
    assert np.abs(np.reshape(seen, (3, 24)) - np.reshape(seen[:24], (1, 24))).max() == 0
    assert np.abs(np.array(seen[:24]) - shades).max() < 16

"""Shots that go on where others were: the same cuts, whatever instant the state was taken at, and whichever frames were lost."""

import asyncio
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.analyzers.shots import BATCH, Options, Shots
from orchestrator.core.segmenting import Boundary
from tests.support.fakes import FakeInference, batch

Change = Callable[[dict], None]


def answers(delays):
    """A model whose answer at a frame depends on its neighbourhood, and a little on where its window begins, so that a
    wrong or shifted window shows: above the threshold at jumps, and for as long as a slow change lasts."""

    def score(frames):
        levels = frames[0, :, 0, 0, 0].astype(np.float64)
        change = np.abs(np.gradient(np.convolve(np.pad(levels, 2, "edge"), np.ones(5) / 5, "valid")))
        context = levels / 20_000 + levels[:25].mean() / 20_000
        return {"cut": (1 - np.exp(-change / 8) + context).astype(np.float32)[None]}

    waits = iter(delays)
    return FakeInference({"shots": (1, score)}, delay=lambda: next(waits, 0.0))


async def run(levels, lost, delays, state=None, look=lambda shots, cuts: None, sure=0.0) -> list[Boundary]:
    """All cuts that shots find in a media of flat pictures; ``look`` is called whenever some were handed on."""
    shots, cuts = Shots(Options(gate_step=0.0, gate_jump=0.0, gate_drift=0.0, gate_sure=sure)), []
    first = 0
    if state is not None:
        shots.restore(state)
        first = state["first"]

    def found(new, settled):
        cuts.extend(new)
        look(shots, cuts)

    inference = answers(delays)
    good = [index for index in range(first, len(levels)) if index not in lost]
    for start in range(0, len(good), BATCH):
        part = good[start : start + BATCH]
        await shots.feed(batch(shots.tap, part, part[-1] + 1, lambda i: levels[i]), inference, found)
        await asyncio.sleep(0)
    await shots.finish(len(levels), inference, found)
    return cuts


def scenes(draw):
    """Flat scenes that jump or dissolve into one another, with stretches that stand quite still."""
    levels: list[int] = []
    for length, level, fade in draw(
        st.lists(st.tuples(st.integers(1, 90), st.integers(0, 255), st.integers(0, 40)), min_size=1, max_size=8)
    ):
        if levels and fade:
            levels += np.linspace(levels[-1], level, fade).astype(int).tolist()
        levels += [level] * length
    return levels


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_from_any_instant_on_the_cuts_are_those_of_the_whole(data):
    levels = scenes(data.draw)
    gaps = data.draw(st.lists(st.tuples(st.integers(0, len(levels)), st.integers(1, 60)), max_size=4))
    lost = {index for start, length in gaps for index in range(start, start + length)}
    if len(lost & set(range(len(levels)))) == len(levels):
        lost = set()
    delays = data.draw(st.lists(st.sampled_from([0.0, 0.001]), max_size=4))
    sure = data.draw(st.sampled_from([0.0, 20.0]))
    seen: list[tuple[str, int]] = [(json.dumps(Shots(Options()).state()), 0)]

    def look(shots, cuts):
        seen.append((json.dumps(shots.state()), len(cuts)))

    async def check():
        whole = await run(levels, lost, delays, look=look, sure=sure)
        for state, known in dict(seen).items():
            assert whole[:known] + await run(levels, lost, [], json.loads(state), sure=sure) == whole, state

    asyncio.run(check())


FADE = (40 + 180 * np.linspace(1, 0, 20) ** 2).astype(int).tolist()
LEVELS = [90] * 70 + [130] * 31 + [220] * 39 + FADE + [40] * 25 + [150] * 45 + [200] * 80
LOST = set(range(100, 136))


def part_of(state, change: Change):
    wrong = json.loads(json.dumps(state))
    change(wrong)
    return wrong


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["cuts"].update(run=None),
        lambda state: state["cuts"].update(decided=state["cuts"]["decided"] - 50),
        lambda state: state["cuts"].update(decided=state["cuts"]["decided"] + 50),
        lambda state: state.update(first=state["first"] + 25),
    ],
    ids=["the open transition", "what is decided", "what is left", "the last good frame"],
)
async def test_every_part_of_the_state_counts(change):
    """Negative control, at an instant when a dissolve lies across the border of two windows behind lost frames."""
    states: list[tuple[dict, int]] = []
    whole = await run(LEVELS, LOST, [], look=lambda shots, cuts: states.append((shots.state(), len(cuts))))
    state, known = next(each for each in states if each[0]["cuts"]["decided"] == 150)
    assert state["cuts"]["run"] is not None
    assert state["first"] == 99
    assert whole[:known] + await run(LEVELS, LOST, [], json.loads(json.dumps(state))) == whole
    try:
        wrong = await run(LEVELS, LOST, [], part_of(state, change))
    except (IndexError, ValueError):
        return  # thumbnails that it needs are not there
    assert whole[:known] + wrong != whole

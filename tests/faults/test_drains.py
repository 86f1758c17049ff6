"""R16 in short, a server that goes away without a word, and one that drops what it has begun."""

from __future__ import annotations

import pytest

from tests.faults import broken, drains


@pytest.mark.timeout(240)
async def test_draining_under_load_is_told_first_and_loses_nothing(triton: str) -> None:
    outcome = await drains.play(drains.Plan(drains=4, clips=2, drain_seconds=0.3), triton)
    assert outcome.broken == []
    assert outcome.drains == {"SIGTERM": 2, "drain": 2}
    assert outcome.told_first == 4
    assert outcome.handed_back > 0, "no drain met an analysis that it had to hand back"
    assert outcome.cut_calls > 0, "no client noticed"


@pytest.mark.timeout(240)
async def test_one_that_goes_away_without_a_word_is_noticed(triton: str) -> None:
    outcome = await drains.play(drains.Plan(drains=1, clips=1, program=broken.program("silent")), triton)
    assert outcome.told_first == 0
    assert "it refused an analysis while it said SERVING" in str(outcome.broken)


@pytest.mark.timeout(240)
async def test_one_that_drops_what_it_has_begun_is_noticed(triton: str) -> None:
    outcome = await drains.play(
        drains.Plan(drains=2, clips=1, program=broken.program("dropping"), drain_seconds=0.0), triton
    )
    assert "dropped" in str(outcome.broken)

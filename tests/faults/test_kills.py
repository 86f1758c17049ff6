"""R1 in short, and a store that breaks it."""

from __future__ import annotations

import pytest

from tests.faults import broken, kills


@pytest.mark.timeout(240)
async def test_killed_processes_lose_and_repeat_nothing(triton: str) -> None:
    outcome = await kills.play(kills.Plan(seed=1, analyses=5, kills=10, clips=1), triton)
    assert outcome.broken == []
    assert outcome.succeeded == outcome.analyses == 5
    assert sum(outcome.kills.values()) == 10
    assert outcome.cut_calls > 0, "no client noticed"


@pytest.mark.timeout(240)
async def test_a_checkpoint_that_comes_late_is_noticed(triton: str) -> None:
    late, here = broken.program("late"), "attempt.committed"
    outcome = await kills.play(kills.Plan(2, analyses=1, kills=1, clips=1, program=late, failpoint=here), triton)
    assert outcome.succeeded < outcome.analyses
    assert outcome.broken

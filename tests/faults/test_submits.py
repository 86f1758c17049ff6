"""R4 in short, and a store that breaks it."""

from __future__ import annotations

from tests.faults import broken, submits


async def test_a_request_id_makes_one_analysis(triton: str) -> None:
    outcome = await submits.play(submits.Plan(seed=1, submits=500, ids=25, kills=2), triton)
    assert outcome.broken == []
    assert outcome.analyses == 25
    assert outcome.kills == 2
    assert outcome.dropped > 50


async def test_ignored_ids_are_noticed(triton: str) -> None:
    plan = submits.Plan(seed=1, submits=100, ids=10, kills=0, program=broken.program("blind"))
    outcome = await submits.play(plan, triton)
    assert outcome.analyses > 10
    assert outcome.broken

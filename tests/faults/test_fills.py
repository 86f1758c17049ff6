"""R11 in short, and a service that breaks it."""

from __future__ import annotations

import pytest

from tests.faults import broken, fills


@pytest.mark.timeout(240)
async def test_a_full_disk_pauses_and_loses_nothing(triton: str) -> None:
    outcome = await fills.play(fills.Plan(seed=1, fills=2), triton)
    assert outcome.broken == []
    assert outcome.refused == outcome.fills == 2
    assert outcome.resumed < fills.RESUME_SECONDS


@pytest.mark.timeout(240)
async def test_an_impatient_service_is_noticed(triton: str) -> None:
    # Full 0.33 s after the analyses begin, and for longer than one takes to a segment: so one meets it.
    impatient = broken.program("impatient")
    plan = fills.Plan(seed=31, fills=1, full_seconds=(8.0, 8.0), patience=5, program=impatient)
    outcome = await fills.play(plan, triton)
    assert outcome.broken

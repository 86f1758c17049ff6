"""R19 in short, and a service whose analyses are not pinned to a version."""

from __future__ import annotations

import pytest

from tests.faults import broken, upgrades


@pytest.mark.timeout(240)
async def test_an_upgrade_under_load_is_noticed_by_nobody() -> None:
    outcome = await upgrades.play(upgrades.Plan(cycles=2, streams=4, steady_seconds=10))
    assert outcome.broken == []
    assert (outcome.promotions, outcome.rollbacks) == (2, 2)
    assert set(outcome.segments) == {"1", "2"}, "only one version was heard"


@pytest.mark.timeout(240)
async def test_an_analysis_that_mixes_versions_is_noticed() -> None:
    plan = upgrades.Plan(cycles=2, streams=4, steady_seconds=1, program=broken.program("unpinned"))
    outcome = await upgrades.play(plan)
    assert "and is not" in str(outcome.broken)

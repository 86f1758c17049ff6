"""R19 in short, and a service whose analyses are not pinned to a version."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.api.gen.reelsift.v1 import model_pb2 as pb
from orchestrator.api.gen.reelsift.v1.model_pb2 import VERSION_STATE_STABLE as STABLE
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


@pytest.mark.timeout(240)
async def test_what_is_wanted_survives_every_death_in_every_step() -> None:
    """Kill -9 of the service, then of Triton alone, behind each step: the same versions answer as before."""
    async with upgrades.staged(2) as stage:
        models, by = stage.client.models, {"who": upgrades.WHO}
        name = upgrades.MODEL
        steps = (
            ("staged", lambda: models.stage(name, 2, **by), {"1"}),
            ("shadow", lambda: models.shadow(name, 1.0, **by), {"1"}),
            ("canary", lambda: models.canary(name, 1.0, **by), {"2"}),
            ("promoted", lambda: models.promote(name, **by), {"2"}),
            ("rolled back", lambda: models.rollback(name, **by), {"1"}),
        )
        for what, step, answering in steps:
            before = facts(await step())
            stage.served.kill()
            await stage.served.start()
            assert facts(await models.get(name)) == before, what
            assert await comes_to_answer(stage, answering), what
            for process in stage.served.tritons():
                process.kill()
            assert await comes_to_answer(stage, answering), what
            assert facts(await models.get(name)) == before, what
        await stage.served.stop()


def facts(model: pb.Model) -> dict[int, tuple[int, int, float]]:
    """What each version is for."""
    return {each.version: (each.state, each.stage, each.share) for each in model.versions}


async def comes_to_answer(stage: upgrades.Stage, wanted: set[str]) -> bool:
    """Whether ``wanted`` answers, once it is loaded again; until then nothing but the stable version may."""
    for _ in range(20):
        if (answering := await stage.answering()) == wanted:
            return True
        known = facts(await stage.client.models.get(upgrades.MODEL))
        assert answering == {str(version) for version, (state, *_) in known.items() if state == STABLE}
        await asyncio.sleep(0.5)
    return False

"""A version that passes its examination and turns bad in service is rolled back by itself, at the right rail; no analysis fails for it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from orchestrator.api.gen.reelsift.v1 import model_pb2 as pb
from tests.faults import upgrades
from tests.support.further import turning_version

SOON_SECONDS = 120.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("how", "rail", "stage"),
    [
        ("crash", "ERRORS", "canary"),
        ("hang", "ERRORS", "canary"),
        ("slow", "LATENCY", "canary"),
        ("leak", "MEMORY", "canary"),
        ("wrong", "AGREEMENT", "shadow"),
    ],
)
async def test_a_version_that_turns_bad_is_rolled_back_by_itself(how: str, rail: str, stage: str) -> None:
    with tempfile.TemporaryDirectory(prefix="rails-") as folder:
        order = Path(folder) / "order"
        make = partial(turning_version, order=order)
        async with upgrades.staged(2, make=lambda model, first, second: make(model, first, second)) as service:
            models, by = service.client.models, {"who": upgrades.WHO}
            await models.stage(upgrades.MODEL, upgrades.SECOND, **by)
            if stage == "shadow":
                await models.shadow(upgrades.MODEL, 1.0, **by)
            else:
                await models.canary(upgrades.MODEL, 0.5, **by)
            order.write_text(how)
            heard = await _analyze_until_rolled_back(service)
            newest = await anext(models.steps(upgrades.MODEL))
            assert newest.action == pb.ROLLOUT_ACTION_ROLLBACK
            assert (newest.automatic, newest.rail, newest.version) == (True, rail, upgrades.SECOND)
            assert newest.detail
            assert await service.answering() == {"1"}
            if how == "slow":  # the others may have no answer at all
                assert "2" in heard
            assert service.served.given_up() == []
            await service.served.stop()


async def _analyze_until_rolled_back(service: upgrades.Stage) -> set[str]:
    """Two streams of analyses, none of which may fail; the versions that they name."""
    heard, over, began = set[str](), asyncio.Event(), time.monotonic()

    async def stream() -> None:
        while not over.is_set():
            heard.update(await service.answering())

    async def watch() -> None:
        while any(v.state == pb.VERSION_STATE_CANDIDATE for v in (await service.client.models.get("labels")).versions):
            assert time.monotonic() - began < SOON_SECONDS, "nothing was rolled back"
            await asyncio.sleep(0.25)
        over.set()

    async with asyncio.TaskGroup() as group:
        for work in (stream(), stream(), watch()):
            group.create_task(work)
    return heard

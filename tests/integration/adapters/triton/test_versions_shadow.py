"""A version that is asked in the shadow: compared, thrown away, and never in anybody's way."""

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from orchestrator.core.rollout import Stage
from tests.integration.adapters.triton.conftest import Stack, running
from tests.integration.adapters.triton.steering import (
    BASE,
    STAGED,
    steer,
    two_models,
    until,
)
from tests.support.versions import write_version


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return two_models(tmp_path)


async def shadowed(stack: Stack, share: float, requests: int) -> list[float]:
    """The waits of ``requests`` right answers, half of them pinned, while the candidate is asked beside."""
    await steer(stack, STAGED.tried(Stage.SHADOW, share))
    waits = []
    with stack.inference.pinned("a") as pinned:
        for seed in range(requests):
            began = time.monotonic()
            await stack.right_answer(seed=seed, inference=pinned if seed % 2 else None)
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
    return waits


async def test_a_share_of_the_requests_is_compared_and_thrown_away(repository: Path):
    write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        await shadowed(stack, 0.25, 40)
        await until(lambda: stack.models.measured("one", 2).compared == 10)
        measured = stack.models.measured("one", 2)
        assert (measured.requests, measured.failures, measured.disagreed) == (10, 0, 0)
        assert stack.models.measured("one", 1).requests == 40


async def test_a_shadow_that_answers_otherwise_is_counted(repository: Path):
    write_version(repository, 2, asked="flat = flat[::-1] * 0.5")
    async with running(repository, ["one"]) as stack:
        await shadowed(stack, 1.0, 20)
        await until(lambda: stack.models.measured("one", 2).compared > 10)
        measured = stack.models.measured("one", 2)
        assert measured.disagreed == measured.compared


@pytest.mark.parametrize("asked", ["time.sleep(0.5)", "time.sleep(60)", "os.abort()", "raise RuntimeError('no')"])
async def test_a_bad_shadow_delays_and_fails_nobody(repository: Path, asked: str):
    write_version(repository, 2, asked=asked)
    async with running(repository, ["one"]) as stack:
        waits = await shadowed(stack, 1.0, 60)
        assert np.percentile(waits, 90) < 0.1
        assert max(waits) < 1.0
        assert stack.models.measured("one", 1).failures == 0
        if "sleep" in asked:
            (shadow,) = stack.inference.shadows.values()
            assert shadow.shed > 30, "it piles up"
            assert stack.arena.in_use > 0, "what it reads must stay"
        await steer(stack, BASE)
        async with asyncio.timeout(15):  # else a slot would never come home
            while stack.arena.in_use or stack.transport.scratch.in_use:
                await asyncio.sleep(0.05)

"""What the control plane does to versions, and the repository that they are of."""

import asyncio
from pathlib import Path

import numpy as np

from orchestrator.core.rollout import Rollout, Stage
from tests.integration.adapters.triton.conftest import BATCH, SIDE, Stack, write_model

STABLE_ONLY = "version_policy { specific { versions: [1] } }"
BASE = Rollout("one", 1)
STAGED = BASE.staged(2)
CANARY = STAGED.tried(Stage.CANARY, 1.0)
PIXELS = np.ones((BATCH, SIDE, SIDE, 3), np.uint8)


def two_models(folder: Path) -> Path:
    """A repository of the models ``one``, with two instances, and ``two``."""
    write_model(folder, "one", config=STABLE_ONLY)
    write_model(folder, "two", config=STABLE_ONLY, instances=1)
    return folder


async def steer(stack: Stack, rollout: Rollout) -> None:
    """What the control plane does after a step."""
    stack.models.direct({"one": rollout})
    assert await stack.models.hold({"one": rollout.wanted}) == {}


async def until(true, within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.01)

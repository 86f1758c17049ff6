"""R2, the part of a real server: it dies at each failpoint of an attempt, and the next one finishes the analysis all the same."""

from __future__ import annotations

import asyncio
import random
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.faults import following
from tests.faults.failpoints import Outcome
from tests.faults.following import Follower, References
from tests.faults.kills import ANALYZERS, clips
from tests.faults.serving import Served

DEATH_SECONDS = 60.0
LATE = ("attempt.analysed", "attempt.ended")


async def play(points: Sequence[str], times: int, seed: int, triton: str) -> Outcome:
    """Servers with a failpoint each get on with an analysis until they die, one after the other; the last has none."""
    began, outcome, dice = time.monotonic(), Outcome(), random.Random(seed)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="at-work-")))
        films = await asyncio.to_thread(clips, folder / "clips", 1 if times == 1 else 4)
        served = Served(folder, triton, [folder / "clips"])
        stack.callback(served.end)
        await served.start()
        service = await stack.enter_async_context(following.stub(served.address))
        jobs = [Follower(f"turn {turn}", dice.choice(films), ANALYZERS) for turn in range(times)]
        unkilled = References()
        await unkilled.complete(service, jobs)
        await served.stop()
        for job in jobs:
            running = asyncio.create_task(job.run(service))
            for point in _in_order(points, dice):
                served.launch(failpoint=point)
                try:
                    await asyncio.to_thread(served.process.wait, DEATH_SECONDS)
                    outcome.deaths[point] = outcome.deaths.get(point, 0) + 1
                except subprocess.TimeoutExpired:
                    job.broken.append(f"it never died at {point}")
                    served.kill()
            await served.start()
            await asyncio.wait_for(running, DEATH_SECONDS)
            await job.check(service, unkilled.of(job))
            await served.stop()
            outcome.broken += [f"{job.request_id}: {text}" for text in job.broken]
        outcome.broken += served.given_up()
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _in_order(points: Sequence[str], dice: random.Random) -> list[str]:
    """Those at which an attempt may die once only come last; between the others chance decides."""
    late = [point for point in LATE if point in points]
    early = [point for point in points if point not in LATE]
    return dice.sample(early, len(early)) + late

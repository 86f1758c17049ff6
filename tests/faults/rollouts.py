"""R2, the part of rollouts: the control plane dies before and behind the commit of every step, and finds on its return what is wanted.

Real are the store, the service and its convergence; the model server is one in memory, which forgets everything with its process,
as Triton does.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.rollouts import SqlRollouts
from orchestrator.adapters.stores.sql import open_store
from orchestrator.core.rollout import Action, Hit, Rail, Step
from orchestrator.errors import VersionRejected
from orchestrator.pipeline.convergence import Keeper
from orchestrator.pipeline.rollouts import RolloutService
from tests.faults.failpoints import MEMORY, Done, Outcome, in_child, lived
from tests.support.model_server import FakeModelServer

BY = {"who": "somebody@somewhere", "why": "to see"}
WRONG = Hit(Rail.PARITY, "scores differ")
SLOW = Hit(Rail.LATENCY, "too slow")
Do = Callable[[RolloutService], Awaitable[object]]

WAY: Sequence[tuple[Do, Action, int, Rail | None]] = (
    (lambda service: service.stage("labels", 3, **BY), Action.STAGE, 3, Rail.PARITY),
    (lambda service: service.stage("labels", 2, **BY), Action.STAGE, 2, None),
    (lambda service: service.shadow("labels", 0.5, **BY), Action.SHADOW, 2, None),
    (lambda service: service.canary("labels", 0.5, **BY), Action.CANARY, 2, None),
    (lambda service: service.promote("labels", **BY), Action.PROMOTE, 2, None),
    (lambda service: service.retire("labels", 1, **BY), Action.RETIRE, 1, None),
    (lambda service: service.stage("labels", 4, **BY), Action.STAGE, 4, None),
    (lambda service: service.rollback("labels", **BY), Action.ROLLBACK, 4, None),
    (lambda service: service.stage("labels", 4, **BY), Action.STAGE, 4, None),
    (lambda service: service.turn_away("labels", 4, SLOW), Action.ROLLBACK, 4, Rail.LATENCY),
)
"""Every kind of step, and what the history says of it."""


async def walk(data: Path, done: Done) -> None:
    """From wherever a death left it to the end of the way. A step that came back is told."""
    server = FakeModelServer({"labels": [1, 2, 3, 4]}, unfit={("labels", 3): WRONG})
    async with open_store(data) as opened:
        service = RolloutService(server, SqlRollouts(opened.database))
        keeper = Keeper(service)
        await keeper.start()
        await keeper.converge()
        rollouts = await service.store.rollouts()
        for name, wanted in rollouts.items():
            assert server.directed == {name: wanted}, f"directed is {server.directed}, wanted {wanted}"
            assert server.loaded == {(name, version) for version in wanted.wanted}, f"loaded is {server.loaded}"
        taken = rollouts["labels"].revision if rollouts else 0
        for number, (step, *_) in enumerate(WAY[taken:], taken + 1):
            with suppress(VersionRejected):
                await step(service)
            done(f"stepped labels {number}")
            await keeper.converge()


async def judge(data: Path, told: int) -> list[str]:
    """What the death broke. ``told``: how many steps came back."""
    async with open_store(data) as opened:
        broken = [f"audit: {finding}" for finding in await opened.run(audit) if finding.count]
        history = list(reversed(await SqlRollouts(opened.database).history("labels")))
    if len(history) < told:
        broken.append(f"{told} steps came back, {len(history)} are there")
    expected = [(action, version, rail) for _, action, version, rail in WAY[: len(history)]]
    if [_facts(step) for step in history] != expected:
        broken.append(f"the history is not what was done: {[_facts(step) for step in history]}")
    return broken


def play(points: Sequence[str], times: int) -> Outcome:
    """Die at each of ``points`` so many times, each time on a new store."""
    began, outcome = time.monotonic(), Outcome()
    for point in [each for each in points for _ in range(times)]:
        with tempfile.TemporaryDirectory(prefix="rollouts-", dir=MEMORY) as folder:
            died, broken = die(point, Path(folder) / "data")
        outcome.deaths[point] = outcome.deaths.get(point, 0) + died
        outcome.broken += [f"{point}: {text}" for text in broken]
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def die(point: str, data: Path) -> tuple[bool, list[str]]:
    """One round: whether the process died at the point, and what that broke."""
    first = lived(lambda done: walk(data, done), point)
    if first.status != -signal.SIGKILL:
        return False, [f"it left with {first.status} instead of dying: {first.text}"]
    broken = in_child(lambda: asyncio.run(judge(data, len(first.marks))))
    second = lived(lambda done: walk(data, done))
    broken += [f"it cannot go on: {second.text}"] if second.status else []
    return True, broken + in_child(lambda: asyncio.run(judge(data, len(WAY))))


def _facts(step: Step) -> tuple[Action, int, Rail | None]:
    return step.action, step.version, step.rail

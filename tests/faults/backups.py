"""Backups taken by another process while many analyses run: each restores to a sound store, in which every analysis goes on to the very
results of a run that nobody disturbed. The original is destroyed before."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.adapters.stores.sqlite import FILE_NAME
from tests.acceptance.server import REELSIFT, environment
from tests.faults import following
from tests.faults.following import Follower, References
from tests.faults.kills import ANALYZERS, clips
from tests.faults.serving import Served

STUCK_SECONDS = 400.0


@dataclass(frozen=True, slots=True)
class Plan:
    """``running``: of the ``analyses``, at once. Every other is an upload if ``uploads``."""

    seed: int
    analyzers: tuple[str, ...] = ANALYZERS
    uploads: bool = True
    clips: int = 2
    analyses: int = 50
    running: int = 50
    backups: int = 3


@dataclass
class Outcome:
    """``states``: of the analyses in the backups. ``backup_seconds``: the longest."""

    analyses: int = 0
    backups: int = 0
    states: dict[str, int] = field(default_factory=dict)
    segments: int = 0
    backup_seconds: float = 0.0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


async def play(plan: Plan, triton: str) -> Outcome:
    """Back up, destroy, restore, go on."""
    began, outcome, dice = time.monotonic(), Outcome(analyses=plan.analyses), random.Random(plan.seed)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backups-")))
        films = await asyncio.to_thread(clips, folder / "clips", plan.clips)
        settings = {
            "REELSIFT_MAX_RUNNING": str(plan.running),
            "REELSIFT_MAX_WAITING": "1000",
            "REELSIFT_DISK_LOW_BYTES": "0",
        }
        served = Served(folder, triton, [folder / "clips"], settings=settings)
        stack.callback(served.end)
        await served.start()

        def fresh() -> list[Follower]:
            return [
                Follower(f"request-{index}", films[index % len(films)], plan.analyzers, plan.uploads and index % 4 >= 2)
                for index in range(plan.analyses)
            ]

        jobs = fresh()
        async with following.stub(served.address) as service:
            undisturbed = References()
            await undisturbed.complete(service, jobs)
            running = [asyncio.create_task(job.run(service)) for job in jobs]
            for index in range(plan.backups):
                share = (index + dice.uniform(0.3, 0.9)) / (plan.backups + 1)
                await _until(jobs, undisturbed, share)
                started = time.monotonic()
                await _reelsift(outcome, served.data, "backup", str(folder / f"backup-{index}"))
                outcome.backup_seconds = max(outcome.backup_seconds, round(time.monotonic() - started, 2))
            await _all(running, outcome)
            outcome.broken += _judged(jobs, undisturbed)
        await served.stop()
        shutil.rmtree(served.data)
        for index in range(plan.backups):
            served.data = folder / f"restored-{index}"
            await _reelsift(outcome, served.data, "restore", str(folder / f"backup-{index}"))
            await _reelsift(outcome, served.data, "doctor", "--store")
            _count(served.data / FILE_NAME, outcome)
            await served.start()
            jobs = fresh()
            async with following.stub(served.address) as service:
                await _all([asyncio.create_task(job.run(service)) for job in jobs], outcome)
            outcome.broken += [f"restored {index}: {text}" for text in _judged(jobs, undisturbed)]
            await served.stop()
            outcome.backups += 1
        outcome.broken += served.given_up()
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


async def _until(jobs: list[Follower], undisturbed: References, share: float) -> None:
    """Wait until the clients know so large a share of all events."""
    total = sum(len(undisturbed.of(job)) for job in jobs)
    began = time.monotonic()
    while sum(len(job.log) for job in jobs) < share * total:
        assert time.monotonic() - began < STUCK_SECONDS, "the analyses do not get on"
        await asyncio.sleep(0.01)


async def _reelsift(outcome: Outcome, data: Path, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(REELSIFT),
        *arguments,
        "--data-dir",
        str(data),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        outcome.broken.append(
            f"reelsift {arguments[0]} left with {process.returncode}: {said.decode(errors='replace')}"
        )


async def _all(running: list[asyncio.Task[None]], outcome: Outcome) -> None:
    _, hung = await asyncio.wait(running, timeout=STUCK_SECONDS)
    for task in hung:
        task.cancel()
    if hung:
        outcome.broken.append(f"{len(hung)} analyses never ended")


def _judged(jobs: list[Follower], undisturbed: References) -> list[str]:
    broken = [f"{job.request_id}: {text}" for job in jobs for text in job.broken]
    for job in jobs:
        expected = undisturbed.of(job)
        if job.done and not job.broken and job.log != expected:
            broken.append(f"{job.request_id}: {following.difference(job.log, expected)}")
    return broken


def _count(database: Path, outcome: Outcome) -> None:
    with closing(sqlite3.connect(database)) as connection:
        states = Counter(dict(connection.execute("SELECT state, count(*) FROM analyses GROUP BY state")))
        outcome.states = dict(Counter(outcome.states) + states)
        outcome.segments += connection.execute("SELECT count(*) FROM segments").fetchone()[0]


def summary(outcome: dict[str, object]) -> str:
    """One line for the promise."""
    broken, states = outcome["broken"], outcome["states"]
    assert isinstance(broken, list)
    assert isinstance(states, dict)
    stood = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return (
        "Backup: {backups} taken under {analyses} analyses (at most {backup_seconds} s each), ".format_map(outcome)
        + f"restored with {outcome['segments']} segments and {stood}; all went on to the same results, "
        f"{len(broken)} violations"
    )

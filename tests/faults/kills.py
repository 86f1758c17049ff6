"""R1: processes are killed at random instants, and every accepted analysis ends as if nothing had happened.

A round is some analyses and some kills on one data directory. The clients of ``following.py`` submit, upload and watch through
all of it. Rounds of kind ``lasting`` kill the orchestrator and its decoders, next to a Triton that lives on (a restart takes a second
then); rounds of kind ``embedded`` kill Triton and its stubs too.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from orchestrator.adapters.frames.shm import SHM
from orchestrator.api.gen.reelsift.v1 import analysis_pb2 as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from tests.faults import following
from tests.faults.following import Follower, References
from tests.faults.serving import Served, lasting_triton, with_luck
from tests.media.composite import REEL, build

ANALYZERS = ("shots", "keyframe", "labels", "objects")  # cuts, pictures, scores and tracks that go on across segments
MODELS = ("shots", "labels", "objects")
PARTS = ((1, 4), (5, 7), (6, 9), (3, 5))  # of the composite: 5 to 7 seconds with two or three shots each
OPEN = 3  # analyses that clients follow at once
STUCK_SECONDS = 180.0  # without any event

Victims = Callable[[Served], list[psutil.Process]]
LASTING = {"orchestrator": 0.65, "decoder": 0.35}
EMBEDDED = {"triton": 0.4, "stub": 0.25, "orchestrator": 0.2, "decoder": 0.15}
BELOW: dict[str, Victims] = {"decoder": Served.decoders, "triton": Served.tritons, "stub": Served.stubs}


@dataclass(frozen=True, slots=True)
class Plan:
    """One round. ``program`` runs instead of ``reelsift``; at ``failpoint`` its servers die besides."""

    seed: int
    analyses: int
    kills: int
    embedded: bool = False
    clips: int = len(PARTS)
    uploads: bool = True
    program: tuple[str, ...] = ()
    failpoint: str = ""


@dataclass
class Outcome:
    """What a round showed."""

    seed: int
    analyses: int = 0
    succeeded: int = 0
    segments: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    cut_calls: int = 0
    starts: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def clips(folder: Path, count: int) -> list[Path]:
    """The first ``count`` clips, built where they are missing."""
    paths = []
    for first, last in PARTS[:count]:
        path = folder / f"clip-{first}-{last}.mp4"
        build(path, REEL[first:last])
        paths.append(path)
    return paths


async def play(plan: Plan, triton: str = "", unkilled: References | None = None) -> Outcome:
    """One round. ``triton``: the address of a lasting one, which is started when none is given; ``unkilled``: what runs of other
    rounds were told."""
    began, outcome = time.monotonic(), Outcome(plan.seed)
    unkilled = unkilled or References()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        if not (triton or plan.embedded):
            triton = (await stack.enter_async_context(lasting_triton(MODELS))).address
        films = await asyncio.to_thread(clips, folder / "clips", plan.clips)
        # These deaths are not the media's fault, however many meet one segment.
        settings = {"REELSIFT_MAX_WAITING": "1000", "REELSIFT_MAX_INTERRUPTIONS": "1000"}
        served = Served(folder, triton, [folder / "clips"], settings=settings)
        stack.callback(served.end)
        await served.start()
        service = await stack.enter_async_context(following.stub(served.address))
        jobs = [
            Follower(f"request-{index}", films[index % len(films)], ANALYZERS, plan.uploads and index % 3 == 2)
            for index in range(plan.analyses)
        ]
        await unkilled.complete(service, jobs)
        assert all(len(unkilled.of(job)) > 3 for job in jobs), "some have too few segments to lose one"
        if plan.program:  # from here on
            await served.stop()
            served.program = plan.program
        round_ = Round(plan, served, service, jobs)
        await round_.run()
        for job in jobs:
            if job.done and not job.broken:
                await job.check(service, unkilled.of(job))
        await _nothing_else(service, jobs + list(unkilled.runs), outcome)
        await served.stop()
        _intact(served, outcome)
        outcome.broken += served.given_up()
        outcome.analyses = len(jobs)
        outcome.succeeded = sum(job.done and not job.broken for job in jobs)
        outcome.segments = sum(max(0, len(job.log) - 2) for job in jobs)
        outcome.kills = dict(round_.killed)
        outcome.cut_calls, outcome.starts = sum(job.cuts for job in jobs), served.starts
        outcome.broken += round_.broken
        outcome.broken += [f"{job.request_id} ({job.clip.stem}): {text}" for job in jobs for text in job.broken]
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


class Round:
    """Kills while jobs run. The time that a server is left alone is drawn around a mean that follows the jobs' progress, so
    that they are at work until the last kill."""

    def __init__(self, plan: Plan, served: Served, service: AnalysisServiceStub, jobs: Sequence[Follower]) -> None:
        self._plan, self._served, self._service, self._jobs = plan, served, service, jobs
        self._dice = random.Random(plan.seed)
        self._mean = 6.0 if plan.embedded else 2.5
        self.killed: Counter[str] = Counter()
        self.broken: list[str] = []

    async def run(self) -> None:
        """Until every kill is done and every job has ended, or one hangs."""
        tasks = [asyncio.create_task(self._follow())]
        killer = asyncio.create_task(self._kill())
        tasks.append(asyncio.create_task(self._notice_hang()))
        try:
            await killer
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, killer):
                task.cancel()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
        lost = [job.request_id for job in self._jobs if not job.done]
        if lost:
            self.broken.append(f"lost: {', '.join(lost)} never ended")

    @property
    def _share_killed(self) -> float:
        return self.killed.total() / self._plan.kills

    @property
    def _share_done(self) -> float:
        return sum(job.done for job in self._jobs) / len(self._jobs)

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            running: set[asyncio.Task[None]] = set()
            for index, job in enumerate(self._jobs):
                while len(running := {task for task in running if not task.done()}) >= OPEN or (
                    running and index > self._share_killed * len(self._jobs) + OPEN
                ):
                    await asyncio.sleep(0.05)
                running.add(group.create_task(job.run(self._service)))

    async def _kill(self) -> None:
        weights = EMBEDDED if self._plan.embedded else LASTING
        while self.killed.total() < self._plan.kills:
            if not self._served.alive:
                self._served.launch(self._plan.failpoint)
                if self._dice.random() < 0.1:  # while it comes up, too
                    await asyncio.sleep(self._dice.random())
                    self._shoot("orchestrator")
                    continue
                if not (await self._served.serves() or self._plan.failpoint):
                    self.broken.append(f"ended by itself:\n{self._served.tail(3000)}")
                    return
            ahead = self._share_done - self._share_killed
            self._mean = min(15.0, max(0.3, self._mean * (0.93 if ahead > 0 else 1.07)))
            await asyncio.sleep(self._dice.uniform(0, 2 * self._mean))
            self._shoot(self._dice.choices(list(weights), list(weights.values()))[0])
        if not self._served.alive:
            await self._served.start()

    def _shoot(self, kind: str) -> None:
        if kind == "orchestrator":
            self._served.kill()
            self.killed[kind] += 1
            return
        victims = BELOW[kind](self._served)
        if victims and with_luck(self._dice.choice(victims).kill):
            self.killed[kind] += 1

    async def _notice_hang(self) -> None:
        """Return when nothing has come for long."""
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < STUCK_SECONDS:
            now = sum(len(job.log) for job in self._jobs) + self.killed.total()
            if now != seen:
                seen, since = now, time.monotonic()
            await asyncio.sleep(1)


async def _nothing_else(service: AnalysisServiceStub, jobs: Sequence[Follower], outcome: Outcome) -> None:
    """There are as many analyses as were asked for."""
    listed, token = set[str](), ""
    while True:
        page = await service.ListAnalyses(pb.ListAnalysesRequest(page_size=1000, page_token=token))
        listed |= {each.analysis_id for each in page.analyses}
        token = page.next_page_token
        if not token:
            break
    expected = {job.analysis_id for job in jobs}
    if listed != expected:
        outcome.broken.append(f"{len(listed - expected)} analyses nobody asked for, {len(expected - listed)} are lost")


def _intact(served: Served, outcome: Outcome) -> None:
    """What the service leaves: a sound database and no shared memory."""
    for path in databases(served.data):
        base = sqlite3.connect(path)
        said = base.execute("PRAGMA integrity_check").fetchone()[0]
        base.close()
        if said != "ok":
            outcome.broken.append(f"integrity: {said}")
    left = [path.name for path in SHM.glob(f"reelsift-{served.process.pid}-*")]
    if left:
        outcome.broken.append(f"shared memory was left behind: {left}")


def databases(folder: Path) -> list[Path]:
    """Every SQLite database below ``folder``. ``AssertionError`` when there is none."""
    found = [path for path in folder.rglob("*") if path.is_file() and _magic(path) == b"SQLite format 3\0"]
    assert found, f"no database in {folder}"
    return found


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def summary(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """One line for the promise."""
    kills: Counter[str] = Counter()
    for each in outcomes:
        kills.update(each["kills"])
    total = {name: sum(each[name] for each in outcomes) for name in ("analyses", "succeeded", "segments")}
    broken = [text for each in outcomes for text in each["broken"]]
    return (
        f"R1: {kills.total()} kills ({', '.join(f'{n} {kind}' for kind, n in kills.most_common())}) over "
        f"{total['analyses']} analyses: {total['analyses'] - total['succeeded']} lost or different, "
        f"{total['segments']} segments identical to the unkilled runs, {len(broken)} violations"
    )

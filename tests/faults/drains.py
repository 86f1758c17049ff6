"""R16: a server is drained again and again under load: whoever asks for its health is told first, nothing is lost, and it ends in time.

Clients submit, upload and watch all the while (``following.py``). Half of the drains are SIGTERM, half are the call that operators make
(``Control.drain``), which ``program`` makes at SIGUSR1. A prober asks for an analysis every few milliseconds: when it is refused
because the server goes away, the health that it asks for next must say so.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orchestrator.api.gen.reelsift.v1 import analysis_pb2 as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from tests.faults import following
from tests.faults.following import Follower, References
from tests.faults.kills import ANALYZERS, MODELS, clips, databases
from tests.faults.serving import Served, lasting_triton

DRAIN_SECONDS = 1.0  # so that some finish and some are handed back
GRACE_SECONDS = 8.0  # for all that comes behind: answers to watchers, the store, the decoders
OPEN = 4  # analyses that clients follow at once
ALONE_SECONDS = (0.3, 2.5)  # for which a server is left alone
PROBE_SECONDS = 0.005
ENDS_SECONDS = 180.0
CALLS = {"SIGTERM": signal.SIGTERM, "drain": signal.SIGUSR1}
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class Plan:
    """``program`` runs instead of one that drains at SIGUSR1 too; it is sent SIGTERM alone. ``drain_seconds``: for which what runs may go
    on."""

    seed: int = 1
    drains: int = 50
    clips: int = 4
    program: tuple[str, ...] = ()
    drain_seconds: float = DRAIN_SECONDS


@dataclass
class Outcome:
    """What was seen. ``exits``: seconds from a drain to the end of the process; ``handed_back``: attempts that drains ended."""

    drains: dict[str, int] = field(default_factory=dict)
    analyses: int = 0
    segments: int = 0
    told_first: int = 0
    handed_back: int = 0
    exits: list[float] = field(default_factory=list)
    cut_calls: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def program() -> tuple[str, ...]:
    """``reelsift`` that is drained by the operators' call at SIGUSR1."""
    return (sys.executable, "-m", "tests.faults.drains")


async def play(plan: Plan, triton: str = "") -> Outcome:
    """Drain ``plan.drains`` servers, one behind the other, over one data directory."""
    began, outcome = time.monotonic(), Outcome()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drains-")))
        triton = triton or (await stack.enter_async_context(lasting_triton(MODELS))).address
        films = await asyncio.to_thread(clips, folder / "clips", plan.clips)
        served = Served(
            folder,
            triton,
            [folder / "clips"],
            program=plan.program or program(),
            settings={"REELSIFT_MAX_WAITING": "1000"},
            drain_seconds=plan.drain_seconds,
        )
        stack.callback(served.end)
        await served.start()
        service = await stack.enter_async_context(following.stub(served.address))
        load = Load(service, films)
        undisturbed = References()
        await undisturbed.complete(service, load.kinds())
        over = asyncio.Event()
        loading = asyncio.create_task(load.run(over))
        try:
            await _drain_all(plan, served, films[0], outcome)
        finally:
            over.set()
        try:
            await asyncio.wait_for(loading, ENDS_SECONDS)
        except TimeoutError:
            outcome.broken.append(f"lost: {[job.request_id for job in load.jobs if not job.done]} never ended")
        for job in load.jobs:
            if job.done and not job.broken:
                await job.check(service, undisturbed.of(job))
        await served.stop()
        outcome.analyses = len(load.jobs)
        outcome.segments = sum(max(0, len(job.log) - 2) for job in load.jobs)
        outcome.cut_calls = sum(job.cuts for job in load.jobs)
        outcome.broken += served.given_up()
        outcome.broken += [f"{job.request_id} ({job.clip.stem}): {text}" for job in load.jobs for text in job.broken]
        _settled(served, outcome)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


class Load:
    """Clients that always have ``OPEN`` analyses under way."""

    def __init__(self, service: AnalysisServiceStub, films: list[Path]) -> None:
        self._service, self._films = service, films
        self.jobs: list[Follower] = []

    def kinds(self) -> list[Follower]:
        """One of each kind of job."""
        return [Follower(f"kind-{film.stem}-{up}", film, ANALYZERS, up) for film in self._films for up in (False, True)]

    async def run(self, over: asyncio.Event) -> None:
        """Until it is over, and every analysis has ended."""
        async with asyncio.TaskGroup() as group:
            for _ in range(OPEN):
                group.create_task(self._client(over))

    async def _client(self, over: asyncio.Event) -> None:
        while not over.is_set():
            number = len(self.jobs)
            film = self._films[number % len(self._films)]
            job = Follower(f"request-{number}", film, ANALYZERS, upload=number % 3 == 2)
            self.jobs.append(job)
            await job.run(self._service)


async def _drain_all(plan: Plan, served: Served, film: Path, outcome: Outcome) -> None:
    dice, calls = random.Random(plan.seed), Counter[str]()
    ways = ["SIGTERM"] if plan.program else list(CALLS)
    for number in range(plan.drains):
        await asyncio.sleep(dice.uniform(*ALONE_SECONDS))
        way = ways[number % len(ways)]
        async with Observer(served.address, film) as observer:
            asked = time.monotonic()
            served.process.send_signal(CALLS[way])
            status = await _exit(served)
            outcome.exits.append(round(time.monotonic() - asked, 2))
            await observer.finish()
        calls[way] += 1
        outcome.broken += [f"drain {number}: {text}" for text in observer.broken]
        outcome.told_first += not observer.broken
        if status != 0:
            outcome.broken.append(f"drain {number}: it left with {status}:\n{served.tail(3000)}")
            if status is None:
                served.kill()
        if left := served.processes():
            await asyncio.sleep(2)
            if left := served.processes():
                outcome.broken.append(f"drain {number}: processes were left behind: {left}")
        await served.start()
    outcome.drains = dict(calls)


async def _exit(served: Served) -> int | None:
    """Its exit status; ``None`` when it is still there after all patience."""
    deadline = time.monotonic() + DRAIN_SECONDS + GRACE_SECONDS
    while time.monotonic() < deadline:
        if (status := served.process.poll()) is not None:
            return status
        await asyncio.sleep(0.01)
    return None


class Observer:
    """Watches a server's health, and asks it for an analysis again and again, until it is gone."""

    def __init__(self, address: str, film: Path) -> None:
        self._address, self._film = address, film
        self.broken: list[str] = []
        self._heard: list[int] = []
        self._refused = False

    async def __aenter__(self) -> Observer:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(self._address, options=options) for _ in range(2)]
        self._health = health_pb2_grpc.HealthStub(self._channels[0])
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._probe())]
        async with asyncio.timeout(10):
            while SERVING not in self._heard:
                await asyncio.sleep(0.005)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close(None)

    async def finish(self) -> None:
        """The server is gone: what was seen of it?"""
        await asyncio.wait(self._tasks, timeout=5)
        if NOT_SERVING not in self._heard:
            self.broken.append("it went away and never said NOT_SERVING")

    async def _watch(self) -> None:
        with suppress(grpc.aio.AioRpcError):
            async for answer in self._health.Watch(health_pb2.HealthCheckRequest()):
                self._heard.append(answer.status)

    async def _probe(self) -> None:
        service = AnalysisServiceStub(self._channels[1])
        config = pb.AnalysisConfig(request_id="prober", path=str(self._film), analyzers=["keyframe"])
        while True:
            try:
                await service.CreateAnalysis(pb.CreateAnalysisRequest(config=config))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.CANCELLED:
                    return  # the end came in its midst
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    self.broken.append(f"refused for another reason: {error.code().name} {error.details()}")
                    return
                if "takes no new analyses" not in (error.details() or ""):
                    return  # it is gone
                if await self._says_serving():
                    self.broken.append("it refused an analysis while it said SERVING")
                    return
            await asyncio.sleep(PROBE_SECONDS)

    async def _says_serving(self) -> bool:
        try:
            return (await self._health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        except grpc.aio.AioRpcError:
            return False  # gone meanwhile


def _settled(served: Served, outcome: Outcome) -> None:
    """Every attempt that a drain ended was handed back: none was left for the next server to find."""
    for path in databases(served.data):
        with closing(sqlite3.connect(path)) as base:
            reasons = dict(base.execute("SELECT reason, count(*) FROM attempts GROUP BY reason").fetchall())
            said = base.execute("PRAGMA integrity_check").fetchone()[0]
        if said != "ok":
            outcome.broken.append(f"integrity: {said}")
        outcome.handed_back += reasons.pop("DRAIN", 0)
        if strange := {name: count for name, count in reasons.items() if name not in ("SUCCEEDED", "YIELD")}:
            outcome.broken.append(f"attempts ended otherwise: {strange}")


def summary(outcome: Mapping[str, Any]) -> str:
    """One line for the promise."""
    ways = ", ".join(f"{count} by {way}" for way, count in outcome["drains"].items())
    total = sum(outcome["drains"].values())
    return (
        f"R16: {total} drains ({ways}) under {outcome['analyses']} analyses: health told first in {outcome['told_first']}, "
        f"{outcome['handed_back']} attempts handed back, {outcome['segments']} segments identical to undisturbed runs, "
        f"the slowest exit after {max(outcome['exits'], default=0.0)} s of {DRAIN_SECONDS + GRACE_SECONDS:g} s, "
        f"{len(outcome['broken'])} violations"
    )


def _drain_at_a_signal() -> None:
    """Have the service of this process drained by the operators' own call at SIGUSR1."""
    from orchestrator import app

    whole = app.running_app

    def controlled(control: app.Control) -> None:
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGUSR1, lambda: control.drain(who="the harness", why="R16")
        )

    app.running_app = lambda *args, **given: whole(*args, **given, controlled=controlled)  # type: ignore[assignment]


if __name__ == "__main__":
    from orchestrator.cli.main import main

    _drain_at_a_signal()
    main()

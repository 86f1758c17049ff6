"""R19: a model is upgraded and rolled back again and again under load, and nobody notices.

Streams ask for analyses at a steady pace, first while nothing changes, then while version 2 of ``labels`` is staged, given half of the
analyses, promoted and rolled back, over and over. Its answers differ a little from version 1's, so that what an analysis says tells which
version made it: every segment must say exactly what an undisturbed run of the version that it names says.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError, ReelsiftClient, connect
from orchestrator.api.gen.reelsift.v1.model_pb2 import VERSION_STATE_STABLE as STABLE
from tests.faults.kills import clips
from tests.faults.serving import Served
from tests.support.further import Make, further_version, two_versions

MODEL, FIRST, SECOND = "labels", 1, 2
PROFILE = "description = 'upgrades'\nmax_segment = 1.0\n[analyzers.labels]\nfps = 2\nreuse = false\n"
WHO = "the harness"
BETWEEN_SECONDS = 1.5  # in which analyses begin
LEARNING = 3  # steps that are made before
ENDS_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """``cycles`` promotions and as many rollbacks, while ``streams`` ask for an analysis every ``period`` seconds each."""

    cycles: int = 20
    streams: int = 8
    period: float = 6.0
    steady_seconds: float = 150.0
    program: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What was seen. Latencies are seconds from asking for an analysis to its end."""

    promotions: int = 0
    rollbacks: int = 0
    analyses: int = 0
    segments: dict[str, int] = field(default_factory=dict)
    steady_p99: float = 0.0
    upgrading_p99: float = 0.0
    retried: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Of the latencies, the upgrades' to the steady one."""
        return self.upgrading_p99 / self.steady_p99

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "ratio": round(self.ratio, 3)}


@dataclass(frozen=True, slots=True)
class Stage:
    """A service that has two versions of the model, a clip that it may read, and a client."""

    served: Served
    client: ReelsiftClient
    film: Path

    async def analyze(self) -> AsyncIterator[pb.Segment]:
        """The segments of a new analysis of the clip."""
        options = AnalysisOptions(profile="upgrades", ignore_known=True, timeout=ENDS_SECONDS)
        async for response in self.client.analyze_path(str(self.film), options):
            if response.HasField("segment"):
                yield response.segment

    async def answering(self) -> set[str]:
        """The versions that a new analysis names."""
        return {version async for segment in self.analyze() for version in versions(segment)}


@asynccontextmanager
async def staged(running: int, program: Sequence[str] = (), make: Make = further_version) -> AsyncIterator[Stage]:
    """Such a service, for ``running`` analyses at once, whose second version is what ``make`` makes."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="upgrades-")))
        film = (await asyncio.to_thread(clips, folder / "clips", 1))[0]
        repository = await asyncio.to_thread(two_versions, folder, MODEL, make)
        (folder / "profiles").mkdir()
        (folder / "profiles" / "upgrades.toml").write_text(PROFILE)
        settings = {
            "REELSIFT_MODEL_REPOSITORY": str(repository),
            "REELSIFT_PROFILE_DIR": str(folder / "profiles"),
            "REELSIFT_MAX_RUNNING": str(running),
            "REELSIFT_MAX_WAITING": "1000",
        }
        served = Served(folder, roots=[folder / "clips"], settings=settings)
        if program:
            served.program = program
        stack.callback(served.end)
        await served.start()
        yield Stage(served, await stack.enter_async_context(connect(served.address)), film)


async def play(plan: Plan) -> Outcome:
    """Everything once."""
    began, outcome = time.monotonic(), Outcome()
    async with staged(plan.streams, plan.program) as stage:
        load = Load(stage, plan, outcome)
        await load.learn()
        outcome.steady_p99 = await load.during(asyncio.sleep(plan.steady_seconds))
        outcome.upgrading_p99 = await load.during(_upgrade(stage.client, plan, outcome))
        outcome.broken += stage.served.given_up()
        outcome.retried = stage.served.log.read_text(errors="replace").count('"event":"analysis.waits"')
        await stage.served.stop()
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


async def _upgrade(client: ReelsiftClient, plan: Plan, outcome: Outcome) -> None:
    models = client.models
    for cycle in range(plan.cycles):
        await models.stage(MODEL, SECOND, who=WHO, why=f"cycle {cycle}")
        await models.canary(MODEL, 0.5, who=WHO)
        await asyncio.sleep(BETWEEN_SECONDS)
        _expect(await models.promote(MODEL, who=WHO), SECOND, outcome)
        outcome.promotions += 1
        await asyncio.sleep(BETWEEN_SECONDS)
        _expect(await models.rollback(MODEL, who=WHO), FIRST, outcome)
        outcome.rollbacks += 1
    steps = [step async for step in models.steps(MODEL)]
    if any(step.automatic or step.rail for step in steps):
        outcome.broken.append(
            f"the service rolled back by itself: {[s.detail for s in steps if s.automatic or s.rail]}"
        )
    if len(steps) != 4 * plan.cycles + LEARNING:
        outcome.broken.append(f"{len(steps)} steps are in the history, {4 * plan.cycles + LEARNING} were made")


def _expect(model: pb.Model, version: int, outcome: Outcome) -> None:
    stable = [each.version for each in model.versions if each.state == STABLE]
    if stable != [version]:
        outcome.broken.append(f"version {stable} is stable, not {version}")


class Load:
    """Streams that ask for analyses and look at every answer."""

    def __init__(self, stage: Stage, plan: Plan, outcome: Outcome) -> None:
        self._stage, self._plan, self._outcome = stage, plan, outcome
        self._right: dict[str, list[str]] = {}  # what an undisturbed run says, by version
        self._segments: Counter[str] = Counter()

    async def learn(self) -> None:
        """What each version says, while nothing else is done."""
        models = self._stage.client.models
        await self._learn(FIRST)
        await models.stage(MODEL, SECOND, who=WHO)
        await models.promote(MODEL, who=WHO)
        await self._learn(SECOND)
        await models.rollback(MODEL, who=WHO)
        assert self._right[str(FIRST)] != self._right[str(SECOND)], "the versions answer alike: nothing could be seen"

    async def _learn(self, version: int) -> None:
        segments = [segment async for segment in self._stage.analyze()]
        said = {name for segment in segments for name in versions(segment)}
        assert said == {str(version)}, f"version {said} answers, not {version}"
        self._right[str(version)] = [plain(segment) for segment in segments]

    async def during(self, work: Awaitable[None]) -> float:
        """The 99th percentile of the latencies while ``work`` is done."""
        over, latencies = asyncio.Event(), list[float]()
        streams = [asyncio.create_task(self._stream(n, over, latencies)) for n in range(self._plan.streams)]
        try:
            await work
        finally:
            over.set()
            await asyncio.wait_for(asyncio.gather(*streams), ENDS_SECONDS)
        self._outcome.segments = dict(self._segments)
        return percentile(latencies, 0.99)

    async def _stream(self, number: int, over: asyncio.Event, latencies: list[float]) -> None:
        due = time.monotonic() + self._plan.period * number / self._plan.streams
        while not over.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._plan.period, time.monotonic())
            asked = time.monotonic()
            try:
                segments = [segment async for segment in self._stage.analyze()]
            except ClientError as error:
                self._outcome.broken.append(f"an analysis failed: {error}")
                continue
            latencies.append(time.monotonic() - asked)
            self._outcome.analyses += 1
            self._outcome.broken += self._wrong(segments)

    def _wrong(self, segments: Sequence[pb.Segment]) -> list[str]:
        found = []
        whole = len(self._right[str(FIRST)])
        if len(segments) != whole:
            found.append(f"{len(segments)} segments of {whole}")
        for index, segment in enumerate(segments):
            said = versions(segment)
            self._segments.update(said)
            if len(said) != 1:
                found.append(f"segment {index} names the versions {sorted(said)}")
            elif plain(segment) != self._right[next(iter(said))][index]:
                found.append(f"segment {index} says of itself that it is version {said}'s, and is not")
        return found


def versions(segment: pb.Segment) -> set[str]:
    """The versions of the model that a segment names."""
    return {model.version for each in segment.annotations for model in each.models if model.name == MODEL}


def plain(segment: pb.Segment) -> str:
    """All that a segment says."""
    return json_format.MessageToJson(segment, indent=None, sort_keys=True)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summary(outcome: Mapping[str, Any]) -> str:
    """One line for the promise."""
    return (
        f"R19: {outcome['promotions']} promotions and {outcome['rollbacks']} rollbacks under {outcome['analyses']} analyses, "
        f"segments by version {outcome['segments']}, p99 {outcome['upgrading_p99']:.3f} s against {outcome['steady_p99']:.3f} s "
        f"({outcome['ratio']} times), {len(outcome['broken'])} violations"
    )

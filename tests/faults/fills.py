"""R11: the disk of the data directory is filled, again and again: new work is refused with the right code, what runs waits, and
all goes on by itself within ten seconds of there being room."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from orchestrator.api.gen.reelsift.v1 import analysis_pb2 as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from tests.faults import following
from tests.faults.following import Follower, References
from tests.faults.kills import ANALYZERS, _intact, clips
from tests.faults.kills import Outcome as KillsOutcome
from tests.faults.serving import Served
from tests.support.small_disk import fill, small_disk

DISK_BYTES = 96 << 20
LOW, HIGH = 8 << 20, 16 << 20
RESUME_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """``program`` runs instead of ``reelsift``; ``full_seconds``: for how long the disk is full, about; ``patience``: seconds for
    the analyses to end after the last fill."""

    seed: int
    fills: int
    full_seconds: tuple[float, float] = (0.2, 2.0)
    patience: float = 120.0
    program: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What came of it. ``resumed``: seconds from there being room to the next accepted request, the longest."""

    fills: int = 0
    analyses: int = 0
    refused: int = 0
    resumed: float = 0.0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


async def play(plan: Plan, triton: str) -> Outcome:
    """Fill the disk while analyses run."""
    began, outcome, dice = time.monotonic(), Outcome(), random.Random(plan.seed)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fills-")))
        disk = stack.enter_context(small_disk(folder / "disk", DISK_BYTES))
        films = await asyncio.to_thread(clips, folder / "clips", 2)
        settings = {"REELSIFT_DISK_LOW_BYTES": str(LOW), "REELSIFT_DISK_HIGH_BYTES": str(HIGH)}
        served = Served(folder, triton, [folder / "clips"], settings=settings, data=disk / "data")
        stack.callback(served.end)
        await served.start()
        service = await stack.enter_async_context(following.stub(served.address))
        jobs = [
            Follower(f"request-{index}", films[index % 2], ANALYZERS, index % 4 >= 2)
            for index in range(max(2, plan.fills))
        ]
        unkilled = References()
        await unkilled.complete(service, jobs)
        if plan.program:
            await served.stop()
            served.program = plan.program
            await served.start()
        running: list[asyncio.Task[None]] = []
        for index in range(plan.fills):
            running += [asyncio.create_task(job.run(service)) for job in jobs[index :: plan.fills]]
            await asyncio.sleep(dice.uniform(0.3, 2.5))  # some are at work, some upload
            filler = await asyncio.to_thread(fill, disk, dice.choice((0, 0, 4096, LOW // 2)))
            await _is_refused(service, f"full-{index}", outcome)
            await asyncio.sleep(dice.uniform(*plan.full_seconds))
            filler.unlink()
            outcome.fills += 1
            await _is_accepted(service, f"room-{index}", outcome)
        _, hung = await asyncio.wait(running, timeout=plan.patience)
        for task in hung:
            task.cancel()
        for job in jobs:
            if job.done and not job.broken:
                await job.check(service, unkilled.of(job))
            elif not job.done:
                job.broken.append("it never ended")
        sound = KillsOutcome(plan.seed)
        await served.stop()
        _intact(served, sound)
        outcome.analyses = len(jobs)
        outcome.broken += sound.broken + served.given_up()
        outcome.broken += [f"{job.request_id}: {text}" for job in jobs for text in job.broken]
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _request(request_id: str) -> pb.CreateAnalysisRequest:
    """An upload that never comes: it occupies nobody."""
    upload = pb.Upload(content_length=1)
    return pb.CreateAnalysisRequest(config=pb.AnalysisConfig(request_id=request_id, upload=upload))


async def _is_refused(service: AnalysisServiceStub, request_id: str, outcome: Outcome) -> None:
    try:
        await service.CreateAnalysis(_request(request_id), timeout=RESUME_SECONDS)
    except grpc.aio.AioRpcError as error:
        reason, again = _details(error)
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and reason == "DISK_FULL" and again:
            outcome.refused += 1
        else:
            outcome.broken.append(f"{request_id}: refused as {error.code().name} {reason}, to be tried again: {again}")
    else:
        outcome.broken.append(f"{request_id}: accepted on a full disk")


async def _is_accepted(service: AnalysisServiceStub, request_id: str, outcome: Outcome) -> None:
    began = time.monotonic()
    while True:
        try:
            await service.CreateAnalysis(_request(request_id), timeout=RESUME_SECONDS)
        except grpc.aio.AioRpcError as error:
            if time.monotonic() - began < RESUME_SECONDS:
                await asyncio.sleep(0.1)
                continue
            outcome.broken.append(f"{request_id}: after {RESUME_SECONDS:g} s still {error.code().name}")
        outcome.resumed = max(outcome.resumed, round(time.monotonic() - began, 2))
        return


def _details(error: grpc.aio.AioRpcError) -> tuple[str, bool]:
    """The reason, and whether it says when to come again."""
    status = rpc_status.from_call(error)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details if status else ():
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
    return info.reason, retry.retry_delay.ToNanoseconds() > 0


def summary(outcome: dict[str, object]) -> str:
    """One line for the promise."""
    broken = outcome["broken"]
    assert isinstance(broken, list)
    return (
        "R11: disk filled {fills} times under {analyses} analyses: {refused} submits refused with RESOURCE_EXHAUSTED, "
        "accepted again within {resumed} s".format_map(outcome)
        + f", {len(broken)} violations"
    )

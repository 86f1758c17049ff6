"""R4: many submits with few request ids, of which answers are dropped and servers killed: one analysis for each id."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc

from orchestrator.api.gen.reelsift.v1 import analysis_pb2 as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from tests.faults import following
from tests.faults.serving import Served

CLIENTS = 16
PATIENCE_SECONDS = 0.02  # of a client that breaks off: at most so long it waits for its answer


@dataclass(frozen=True, slots=True)
class Plan:
    """``drops``: the share of submits whose client does not wait for the answer."""

    seed: int
    submits: int
    ids: int
    kills: int
    drops: float = 0.4
    program: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What came of it."""

    submits: int = 0
    ids: int = 0
    analyses: int = 0
    answered: int = 0
    dropped: int = 0
    cut: int = 0
    kills: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


async def play(plan: Plan, triton: str) -> Outcome:
    """Submit from ``CLIENTS`` clients at once; the analyses are uploads whose bytes never come, so that none runs."""
    began, outcome, dice = time.monotonic(), Outcome(plan.submits, plan.ids), random.Random(plan.seed)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="submits-")))
        limits = {"REELSIFT_MAX_WAITING": str(plan.submits)}
        served = Served(folder, triton, settings=limits)
        if plan.program:
            served.program = plan.program
        stack.callback(served.end)
        await served.start()
        service = await stack.enter_async_context(following.stub(served.address))
        # Every id at least once, and every last one answered: else nobody could expect its analysis.
        wanted = [f"id-{index}" for index in range(plan.ids)]
        order = wanted + dice.choices(wanted, k=plan.submits - 2 * plan.ids)
        dice.shuffle(order)
        told: dict[str, set[str]] = {each: set() for each in wanted}
        killer = asyncio.create_task(
            _kill(served, plan, outcome, done=lambda: outcome.answered / plan.submits, dice=dice)
        )
        queue = iter([(each, dice.random() < plan.drops) for each in order] + [(each, False) for each in wanted])

        async def client(number: int) -> None:
            own = random.Random(plan.seed * 1000 + number)
            for request_id, drops in queue:
                await _submit(service, request_id, told, outcome, own.uniform(0, PATIENCE_SECONDS) if drops else None)

        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(client(number))
        killer.cancel()
        await asyncio.wait([killer])
        if not killer.cancelled():
            killer.result()
        if not served.alive or not await served.serves():
            await served.start()
        await _judge(service, told, outcome)
        await served.stop()
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


async def _submit(
    service: AnalysisServiceStub, request_id: str, told: dict[str, set[str]], outcome: Outcome, patience: float | None
) -> None:
    config = pb.AnalysisConfig(request_id=request_id, upload=pb.Upload(content_length=1 << 20))
    while True:
        call = service.CreateAnalysis(pb.CreateAnalysisRequest(config=config))
        try:
            if patience is None:
                answer = await call
            else:
                answering = asyncio.ensure_future(_answer(call))
                done, _ = await asyncio.wait([answering], timeout=patience)
                if not done:
                    answering.add_done_callback(lambda task: task.cancelled() or task.exception())
                    call.cancel()  # closes its stream: the answer finds nobody
                    outcome.dropped += 1
                    return
                answer = done.pop().result()
        except grpc.aio.AioRpcError as error:
            if not following.may_repeat(error):
                outcome.broken.append(f"{request_id}: {error.code().name}: {error.details()}")
                return
            outcome.cut += 1
            if patience is not None:
                return
            await asyncio.sleep(following.PAUSE_SECONDS)
            continue
        outcome.answered += 1
        told[request_id].add(answer.analysis.analysis_id)
        return


async def _answer(call: Awaitable[pb.CreateAnalysisResponse]) -> pb.CreateAnalysisResponse:
    try:
        return await call
    except asyncio.CancelledError:
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata(), "by this client"
        ) from None


async def _kill(
    served: Served, plan: Plan, outcome: Outcome, *, done: Callable[[], float], dice: random.Random
) -> None:
    """Kills spread over the answers."""
    marks = sorted(dice.uniform(0.02, 0.5) for _ in range(plan.kills))  # of the submits, more than half are answered
    for mark in marks:
        while done() < mark:
            await asyncio.sleep(0.005)
        served.kill()
        outcome.kills += 1
        await served.start()


async def _judge(service: AnalysisServiceStub, told: dict[str, set[str]], outcome: Outcome) -> None:
    by_request: Counter[str] = Counter()
    token = ""
    while True:
        page = await service.ListAnalyses(pb.ListAnalysesRequest(page_size=1000, page_token=token))
        outcome.analyses += len(page.analyses)
        for each in page.analyses:
            by_request[each.config.request_id] += 1
            if each.analysis_id not in told.get(each.config.request_id, {each.analysis_id}):
                outcome.broken.append(f"{each.config.request_id} was told another analysis")
        token = page.next_page_token
        if not token:
            break
    for request_id, ids in told.items():
        if len(ids) != 1:
            outcome.broken.append(f"{request_id} was told {len(ids)} analyses")
        if by_request[request_id] != 1:
            outcome.broken.append(f"{request_id} made {by_request[request_id]} analyses")


def summary(outcome: dict[str, object]) -> str:
    """One line for the promise."""
    broken = outcome["broken"]
    assert isinstance(broken, list)
    return (
        "R4: {submits} submits with {ids} ids, {dropped} answers dropped, {cut} calls cut by {kills} kills: "
        "{analyses} analyses".format_map(outcome)
        + f", {len(broken)} violations"
    )

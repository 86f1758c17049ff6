"""A Triton of someone else may fall, in part or whole, in the midst of analyses: they wait for it, and end as if it had not."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from tests.faults import following
from tests.faults.following import Follower, References
from tests.faults.kills import ANALYZERS, MODELS, clips
from tests.faults.serving import Lasting, Served, lasting_triton, with_luck

HARM = ("stub", "server", "stub", "abort")


@pytest.mark.timeout(240)
async def test_an_analysis_waits_for_a_fallen_triton() -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="remote-")))
        films = await asyncio.to_thread(clips, folder / "clips", 1)
        triton = await stack.enter_async_context(lasting_triton(MODELS))
        served = Served(folder, triton.address, [folder / "clips"])
        stack.callback(served.end)
        await served.start()
        service = await stack.enter_async_context(following.stub(served.address))
        kind, undisturbed, over = Follower("undisturbed", films[0], ANALYZERS), References(), asyncio.Event()
        await undisturbed.complete(service, [kind])
        streams = [asyncio.create_task(_stream(f"stream {index}", films[0], service, over)) for index in range(3)]
        await _harm(triton)
        over.set()
        jobs = [job for stream in streams for job in await stream]
        for job in jobs:
            await job.check(service, undisturbed.of(kind))
        assert [broken for job in jobs for broken in job.broken] == []
        assert served.given_up() == []
        assert b"triton.request_lost" in served.log.read_bytes(), "nothing was under way"
        await served.stop()


async def test_a_service_comes_up_before_its_triton(tmp_path: Path) -> None:
    served = Served(tmp_path, f"unix:{tmp_path}/nobody")
    try:
        await served.start()
        await served.stop()
    finally:
        served.end()


async def _stream(name: str, film: Path, service: AnalysisServiceStub, over: asyncio.Event) -> list[Follower]:
    """Analyses one after the other, so that something is under way until ``over``, however fast the machine."""
    jobs: list[Follower] = []
    while not over.is_set():
        jobs.append(Follower(f"{name}, {len(jobs)}", film, ANALYZERS))
        await jobs[-1].run(service)
    return jobs


async def _harm(triton: Lasting) -> None:
    """Kill stubs and servers, with a moment for a success between."""
    dice = random.Random(1)
    for kind in HARM:
        await asyncio.sleep(dice.uniform(1.5, 3))
        stubs = triton.host.stubs(dice.choice(MODELS))
        pid = dice.choice(stubs).pid if kind == "stub" and stubs else triton.host.server.pid
        with_luck(partial(os.kill, pid, signal.SIGABRT if kind == "abort" else signal.SIGKILL))

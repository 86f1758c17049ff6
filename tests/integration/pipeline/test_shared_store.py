"""Servers that share a PostgreSQL: each analysis runs once, and goes on elsewhere when its server is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.core.jobs import AnalysisState
from orchestrator.pipeline import runner
from orchestrator.pipeline.service import AnalysisService
from tests.support.services import SOON, Bench, make_bench, read, spec, wait_for, whole


@pytest.fixture
def bench(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(runner, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(runner, "DEAD_SECONDS", 1.0)
    monkeypatch.setattr("orchestrator.pipeline.service.POLL_SECONDS", 0.05)
    return make_bench(tmp_path, monkeypatch, postgres_url)


async def test_many_analyses_on_two_servers_run_once_each(bench: Bench) -> None:
    async with bench.service() as one, bench.service() as other:
        made = [await one.create(spec(bench.file(bytes([n])), reuse=False)) for n in range(8)]
        for record, _ in made:
            assert whole(await read(other, record.id))
            assert (await one.get(record.id)).attempts == 1
        assert bench.decoder.opened == 8


async def die(service: AnalysisService) -> None:
    """Stop everything of a server at once, so that nothing of it is settled."""
    assert service._running is not None
    tasks = [service._running, *service.runner._ends]
    tasks += [each.task for each in service.runner._running.values() if each.task]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_another_server_takes_over_what_a_dead_one_left(bench: Bench) -> None:
    gate = bench.decoder.gates[75] = asyncio.Event()
    async with bench.service() as dead:
        record, _ = await dead.create(spec(bench.file()))
        watcher = aiter(dead.events(record.id))
        seen = [await anext(watcher) for _ in range(3)]
        await watcher.aclose()  # type: ignore[attr-defined]
        await die(dead)
        async with bench.service() as alive:
            gate.set()
            log = await read(alive, record.id)
            assert whole(log)
            assert log[:3] == seen
            done = await alive.get(record.id)
            assert (done.state, done.attempts, done.interruptions) == (AnalysisState.SUCCEEDED, 2, 0)


async def test_cancelling_reaches_the_server_that_has_it(bench: Bench) -> None:
    bench.decoder.gates[25] = asyncio.Event()
    async with bench.service() as working:
        record, _ = await working.create(spec(bench.file()))
        await wait_for(working, record.id, AnalysisState.RUNNING)
        async with bench.service() as asked:
            assert (await asyncio.wait_for(asked.cancel(record.id), SOON)).state is AnalysisState.CANCELLED

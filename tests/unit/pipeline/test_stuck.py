"""What does not get on is stopped and tried again, once; nobody is blamed for the weather, for others' memory, or for a slow client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.jobs import AnalysisState
from orchestrator.pipeline import runner
from tests.support.services import SOON, UPLOAD, Bench, make_bench, read, spec, until, wait_for, whole

STUCK = 0.3


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return make_bench(tmp_path, monkeypatch)


async def test_one_that_hangs_is_tried_again_and_then_quarantined(bench: Bench) -> None:
    bench.decoder.gates[50] = asyncio.Event()
    async with bench.service(stuck=STUCK) as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        log = await read(analyses, record.id)
        ended = await analyses.get(record.id)
    assert (ended.state, ended.attempts, ended.strikes) == (AnalysisState.QUARANTINED, 2, 1)
    assert ended.segments == 1, "what was told stays"
    assert (log[-1][1].reason, log[-1][1].grpc_code) == ("ANALYSIS_STUCK", "INTERNAL")
    assert "0.3 seconds" in log[-1][1].message


async def test_one_that_hangs_once_loses_nothing(bench: Bench) -> None:
    gate = bench.decoder.gates[50] = asyncio.Event()
    async with bench.service(stuck=STUCK) as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        await until(lambda: bench.decoder.opened == 2)
        gate.set()
        assert whole(await read(analyses, record.id))
        assert (await analyses.get(record.id)).strikes == 1


async def test_one_that_is_slow_but_gets_on_is_left_alone(bench: Bench) -> None:
    gates = {through: asyncio.Event() for through in range(5, 100, 5)}
    bench.decoder.gates.update(gates)
    async with bench.service(stuck=STUCK) as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        for gate in gates.values():
            await asyncio.sleep(STUCK / 4)
            gate.set()
        assert whole(await read(analyses, record.id))
        assert (await analyses.get(record.id)).attempts == 1


async def test_an_upload_that_waits_for_its_client_is_not_stuck(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "IDLE_SECONDS", STUCK / 2)  # it gives its place up
    bench.decoder.gates[25] = asyncio.Event()
    async with bench.service(stuck=STUCK) as analyses:
        record, _ = await analyses.create(spec(UPLOAD))
        writer = await analyses.upload(record.id)
        await writer.append(0, b"abc")
        await wait_for(analyses, record.id, AnalysisState.RUNNING)
        await wait_for(analyses, record.id, AnalysisState.QUEUED)
        await asyncio.sleep(2 * STUCK)
        assert (await analyses.get(record.id)).strikes == 0
        bench.decoder.gates[25].set()
        await writer.append(3, b"def")
        await writer.finish()
        writer.close()
        assert whole(await read(analyses, record.id))


async def test_while_the_disk_is_full_nobody_is_stuck(bench: Bench) -> None:
    gate = bench.decoder.gates[50] = asyncio.Event()
    async with bench.service(stuck=STUCK) as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        await wait_for(analyses, record.id, AnalysisState.RUNNING)
        bench.free = 10
        gate.set()
        await asyncio.sleep(4 * STUCK)
        bench.free = 1 << 30
        assert whole(await read(analyses, record.id))
        assert (await analyses.get(record.id)).attempts == 1


async def test_who_waits_for_memory_of_others_is_not_stuck_but_who_waits_for_nobodys_is(bench: Bench) -> None:
    free = asyncio.Event()
    opened = type(bench.decoder).open

    class Scarce(type(bench.decoder)):  # type: ignore[misc]
        @asynccontextmanager
        async def open(self, source: Any, request: Any) -> AsyncIterator[Any]:
            if os.pread(source.fileno(), 3, 0) == b"two":
                await free.wait()
            async with opened(self, source, request) as session:
                yield session

    bench.decoder.__class__ = Scarce
    gates = {through: asyncio.Event() for through in range(5, 100, 5)}
    bench.decoder.gates.update(gates)
    async with bench.service(stuck=STUCK, running=2) as analyses:
        busy, _ = await analyses.create(spec(bench.file(b"one")))
        waiting, _ = await analyses.create(spec(bench.file(b"two")))
        *most, last = gates.values()
        for gate in most:
            await asyncio.sleep(STUCK / 4)
            gate.set()
        assert (await analyses.get(waiting.id)).attempts == 1
        last.set()
        assert whole(await read(analyses, busy.id))
        log = await read(analyses, waiting.id)
        assert log[-1][1].reason == "ANALYSIS_STUCK"


async def test_one_that_cannot_be_stopped_is_abandoned(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ABANDON_SECONDS", 0.1)
    over, deaf = asyncio.Event(), [True]
    opened = type(bench.decoder).open

    class Deaf(type(bench.decoder)):  # type: ignore[misc]
        @asynccontextmanager
        async def open(self, source: Any, request: Any) -> AsyncIterator[Any]:
            if deaf:
                deaf.clear()
                while not over.is_set():
                    with suppress(asyncio.CancelledError):
                        await over.wait()
            async with opened(self, source, request) as session:
                yield session

    bench.decoder.__class__ = Deaf
    async with bench.service(stuck=STUCK, running=1) as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        assert whole(await asyncio.wait_for(read(analyses, record.id), SOON))
        ended = await analyses.get(record.id)
        assert (ended.attempts, ended.strikes) == (2, 1)
        over.set()
        await asyncio.sleep(0.2)  # what it would write now is refused
        assert await analyses.get(ended.id) == ended


async def test_the_limit_may_change_while_it_runs(bench: Bench) -> None:
    bench.decoder.gates[50] = asyncio.Event()
    async with bench.service() as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        await wait_for(analyses, record.id, AnalysisState.RUNNING)
        await asyncio.sleep(2 * STUCK)
        assert (await analyses.get(record.id)).attempts == 1
        analyses.limit(replace(analyses.limits, stuck=STUCK))
        assert (await read(analyses, record.id))[-1][1].reason == "ANALYSIS_STUCK"

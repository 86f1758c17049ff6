"""What operators do with a running service, over a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.stores.statistics import SqlStatistics
from orchestrator.api.ports import Operations
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.retention import Cleaned
from orchestrator.errors import InvalidRequest, NotFound, UnderMaintenance
from orchestrator.pipeline.abilities import Abilities
from orchestrator.pipeline.control import Control
from orchestrator.pipeline.maintenance import NAME, Maintenance
from orchestrator.pipeline.operations import OperationsService, Watcher
from orchestrator.pipeline.service import AnalysisService
from tests.support.model_server import FakeModelServer
from tests.support.services import UPLOAD, Bench, make_bench, read, spec, until, wait_for, whole

WHO = {"who": "olga", "why": "a test"}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return make_bench(tmp_path, monkeypatch)


async def nothing_old(*, dry_run: bool) -> Cleaned:
    return Cleaned()


@asynccontextmanager
async def controlled(bench: Bench, **limits: object) -> AsyncIterator[tuple[Control, AnalysisService]]:
    async with bench.service(**limits) as analyses:
        store = analyses._store
        full: list[str] = []
        abilities = Abilities(
            lambda model: (),
            FakeModelServer({"labels": [1, 2], "shots": [1]}),
            {"uploads": lambda: "".join(full)},
            {"reelsift": "9"},
        )
        maintenance = Maintenance(bench.folder, analyses.pause)
        yield (
            Control(
                "here",
                analyses,
                SqlStatistics(store.database),  # type: ignore[attr-defined]
                maintenance,
                abilities,
                lambda **_: ("roots",),
                nothing_old,
            ),
            analyses,
        )


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_a_session_says_where_it_stands(bench: Bench) -> None:
    gate = bench.decoder.gates[75] = asyncio.Event()
    async with controlled(bench) as (control, analyses):
        record, _ = await analyses.create(spec(bench.file(), tenant="t"))
        await wait_for(analyses, record.id, AnalysisState.RUNNING)
        await until(lambda: analyses.runner.running() and analyses.runner.running()[0].attempt.segments == 2)
        (session,) = await control.sessions()
        assert (session.analysis_id, session.server, session.tenant) == (record.id, "here", "t")
        assert (session.stage, session.attempt, session.segments, session.stuck) == ("analysing", 1, 2, False)
        assert session.media_seconds == pytest.approx(2.8)  # 70 frames at 25 a second are answered
        assert session.realtime_factor > 0
        assert session.started <= session.progressed <= datetime.now(UTC)
        gate.set()
        assert whole(await read(analyses, record.id))
        await until(lambda: not analyses.runner.running())
        assert await control.sessions() == []


async def test_a_stuck_session_says_so_before_it_is_stopped(bench: Bench) -> None:
    bench.decoder.gates[25] = asyncio.Event()
    async with controlled(bench, stuck=0.5) as (control, analyses):
        record, _ = await analyses.create(spec(bench.file()))
        await wait_for(analyses, record.id, AnalysisState.RUNNING)
        analyses.runner.stuck = float("inf")
        await asyncio.sleep(0.7)
        (session,) = await control.sessions()
        assert session.stuck
        assert datetime.now(UTC) - session.progressed > timedelta(seconds=0.5)
        assert analyses.runner.idle()[record.id] > 0.5


async def test_what_another_server_runs_is_there_too(bench: Bench) -> None:
    bench.decoder.gates[25] = asyncio.Event()
    async with controlled(bench) as (control, analyses):
        record, _ = await analyses.create(spec(bench.file()))
        await until(lambda: analyses.runner.running())
        mine = analyses.runner.owner
        analyses.runner.owner = "elsewhere/1"
        try:
            here, there = sorted(await control.sessions(), key=lambda session: session.server)
        finally:
            analyses.runner.owner = mine
        assert (here.analysis_id, there.analysis_id, there.server) == (record.id, record.id, "here")
        assert (there.segments, there.media_seconds, there.attempt) == (0, 0.0, 1)


async def test_an_operator_ends_what_runs_and_what_waits_and_the_client_is_told(bench: Bench) -> None:
    bench.decoder.gates[75] = asyncio.Event()
    async with controlled(bench, running=1) as (control, analyses):
        running, _ = await analyses.create(spec(bench.file(b"1")))
        await wait_for(analyses, running.id, AnalysisState.RUNNING)
        await until(lambda: analyses.runner.running() and analyses.runner.running()[0].attempt.segments == 2)
        waiting, _ = await analyses.create(spec(bench.file(b"2")))
        for record, segments in ((waiting, 0), (running, 2)):
            ended = await control.terminate(record.id, who="olga", why="too loud")
            assert (ended.state, ended.segments) == (AnalysisState.CANCELLED, segments)
            (_, failed) = (await read(analyses, record.id))[-1]
            assert (failed.reason, failed.message) == ("CANCELLED", "an operator ended the analysis: too loud")
            assert await control.terminate(record.id, who="olga", why="again") == ended
        client, _ = await analyses.create(spec(bench.file(b"3")))
        assert (await analyses.cancel(client.id)).failure.message == "the analysis was cancelled"  # type: ignore[union-attr]
        with pytest.raises(NotFound):
            await control.terminate("nobody", **WHO)
        with pytest.raises(InvalidRequest):
            await control.terminate(running.id, who="", why="")


# --- maintenance -----------------------------------------------------------------------------------------------------


async def test_in_maintenance_nothing_new_begins_and_what_runs_goes_on(bench: Bench) -> None:
    gate = bench.decoder.gates[50] = asyncio.Event()
    told: list[tuple[bool, bool]] = []
    async with controlled(bench, running=1) as (control, analyses):

        async def announce(to_be_had: bool) -> None:
            told.append((to_be_had, analyses.accepting))

        control.maintenance.announce = announce
        running, _ = await analyses.create(spec(bench.file(b"1")))
        await wait_for(analyses, running.id, AnalysisState.RUNNING)
        waiting, _ = await analyses.create(spec(bench.file(b"2")))
        upload, _ = await analyses.create(spec(UPLOAD))
        await control.set_maintenance(True, who="olga", why="a new disk")
        assert told == [(False, True)], "whoever asks is told before anybody is refused"
        assert not analyses.accepting
        status = control.status()
        assert (status.accepting, status.maintenance, status.maintenance_by) == (False, "a new disk", "olga")
        assert status.maintenance_since is not None
        for refused in (analyses.create(spec(bench.file(b"3"))), analyses.estimate(spec(bench.file(b"3")))):
            with pytest.raises(UnderMaintenance) as caught:
                await refused
            assert (caught.value.retryable, caught.value.grpc_code) == (True, "UNAVAILABLE")
        gate.set()
        assert whole(await read(analyses, running.id))
        writer = await analyses.upload(upload.id)  # what was accepted may still be sent
        await writer.append(0, b"abc")
        await writer.finish()
        writer.close()
        await asyncio.sleep(0.2)
        assert (await analyses.get(waiting.id)).state is AnalysisState.QUEUED
        await control.set_maintenance(False, who="olga", why="")
        assert told[1:] == [(True, True)]
        for each in (waiting, upload):
            assert whole(await read(analyses, each.id))
        assert control.status().maintenance == ""
        with pytest.raises(InvalidRequest):
            await control.set_maintenance(True, who="", why="")


async def test_maintenance_survives_a_restart_and_a_deadline_does_not_wait_for_its_end(bench: Bench) -> None:
    async with controlled(bench) as (control, analyses):
        await control.set_maintenance(True, who="olga", why="a new disk")
        await control.set_maintenance(True, who="otto", why="and memory")
        since = control.status().maintenance_since
    assert json.loads((bench.folder / NAME).read_text())["who"] == "otto"
    async with controlled(bench) as (control, analyses):
        status = control.status()
        assert (status.maintenance, status.maintenance_by) == ("and memory", "otto")
        assert status.maintenance_since == since.replace(microsecond=0)  # type: ignore[union-attr]
        with pytest.raises(UnderMaintenance):
            await analyses.create(spec(bench.file()))
        await control.set_maintenance(False, **WHO)
        assert not (bench.folder / NAME).exists()
        record, _ = await analyses.create(spec(bench.file()))
        assert whole(await read(analyses, record.id))


@pytest.mark.parametrize("content", ["", "no JSON", "[1]", '{"since": 3}'])
async def test_a_file_that_somebody_put_there_is_maintenance(bench: Bench, content: str) -> None:
    (bench.folder / NAME).write_text(content)
    async with controlled(bench) as (control, analyses):
        assert not analyses.accepting
        assert control.status().maintenance == "no reason was given"


async def test_a_deadline_passes_in_maintenance_too(bench: Bench) -> None:
    async with controlled(bench, running=1) as (control, analyses):
        bench.decoder.gates[25] = asyncio.Event()
        busy, _ = await analyses.create(spec(bench.file(b"1")))
        await wait_for(analyses, busy.id, AnalysisState.RUNNING)
        soon = datetime.now(UTC) + timedelta(seconds=0.5)
        late, _ = await analyses.create(spec(bench.file(b"2"), deadline=soon))
        await control.set_maintenance(True, **WHO)
        assert (await read(analyses, late.id))[-1][1].reason == "DEADLINE_EXCEEDED"


# --- the rest --------------------------------------------------------------------------------------------------------


async def test_the_status_says_what_can_be_done_and_why_not(bench: Bench) -> None:
    async with controlled(bench) as (control, _):
        assert all(not each.ready for each in control.status().capabilities if each.name != "uploads")
        await control.abilities.learn()
        status = control.status()
        by = {each.name: each for each in status.capabilities}
        assert status.versions == {"reelsift": "9", "triton": "2.0"}
        assert (by["labels"].ready, by["labels"].versions) == (True, {"labels": "1"})
        assert by["keyframe"].ready
        assert by["uploads"].ready
        assert (by["objects"].ready, by["objects"].why) == (False, "objects: it is not exported")
        control.abilities.models.down = True  # type: ignore[attr-defined]
        by = {each.name: each for each in control.status().capabilities}
        assert (by["labels"].ready, by["labels"].why) == (False, "labels: Triton is away")
        assert by["keyframe"].ready, "it asks no model"


async def test_stats_are_of_hours_that_there_are(bench: Bench) -> None:
    async with controlled(bench) as (control, analyses):
        record, _ = await analyses.create(spec(bench.file()))
        await read(analyses, record.id)
        stats = await control.stats(1)
        assert (stats.states, stats.success_rate) == ({AnalysisState.SUCCEEDED: 1}, 1.0)
        assert (stats.frames["decoded"], stats.frames_analyzed, stats.frames_reused) == (100, 100, 0)
        assert stats.media_seconds == 4.0
        assert set(stats.stages) == {"open", "decode", "infer/grays", "model/gray", "segment", "store"}
        assert 0 < stats.stages["model/gray"] <= stats.stages["infer/grays"]
        assert stats.elapsed.count == stats.waiting.count == stats.realtime_factor.count == 1
        assert (await control.stats(1, profile="default")).ended == 1
        assert (await control.stats(1, profile="another")).ended == 0
        assert (await control.stats(1, until=datetime.now(UTC) - timedelta(hours=1))).ended == 0
        for hours in (0, -1, 8761, float("nan")):
            with pytest.raises(InvalidRequest):
                await control.stats(hours)


async def test_draining_is_asked_for_by_name(bench: Bench) -> None:
    async with controlled(bench) as (control, _):
        with pytest.raises(InvalidRequest):
            control.drain(who="", why="")
        assert not control.ending.is_set()
        control.drain(**WHO)
        assert control.ending.is_set()


async def test_everything_together_is_the_port(bench: Bench) -> None:
    methods = {name for name in vars(Operations) if not name.startswith("_")}
    watcher = {name for name in vars(Watcher) if not name.startswith("_")}
    asked: Sequence[str] = sorted(methods - watcher)
    async with controlled(bench) as (control, _):
        whole = OperationsService(control, type("Nobody", (), dict.fromkeys(watcher))())  # type: ignore[arg-type]
        assert set(vars(whole)) == methods
        assert all(getattr(whole, name) == getattr(control, name) for name in asked)

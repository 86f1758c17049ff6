"""What every implementation of the port ``Operations`` does, whatever is behind it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.stores.keeping import SqlPast
from orchestrator.adapters.stores.operations import SqlOperations
from orchestrator.adapters.stores.statistics import SqlStatistics
from orchestrator.api.ports import Operations
from orchestrator.core.alerting import AlertFilter
from orchestrator.core.health import Seen, Status, worst
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.retention import Cleaned
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.pipeline.abilities import Abilities
from orchestrator.pipeline.alerting import Alerting
from orchestrator.pipeline.aside import aside
from orchestrator.pipeline.cleanup import Cleaner
from orchestrator.pipeline.control import Control
from orchestrator.pipeline.history import History
from orchestrator.pipeline.maintenance import Maintenance
from orchestrator.pipeline.observing import Observing
from orchestrator.pipeline.operations import OperationsService
from orchestrator.pipeline.watching import Watching
from tests.support.model_server import FakeModelServer
from tests.support.operations import eventful
from tests.support.operations_store import bad, good
from tests.support.services import SOON, make_bench, spec, until, wait_for
from tests.unit.pipeline.test_watching import Eye

ME = {"who": "me@here", "why": "to see"}

Opening = Callable[[Path, pytest.MonkeyPatch], AbstractAsyncContextManager[Operations]]


@asynccontextmanager
async def in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operations]:
    yield eventful()


@asynccontextmanager
async def over_a_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operations]:
    """What a server has, over a real database: an analysis runs, one has succeeded; an alert is open, one is resolved."""
    bench = make_bench(folder, monkeypatch)
    async with bench.service() as analyses:
        ended, _ = await analyses.create(spec(bench.file(b"ended")))
        await wait_for(analyses, ended.id, AnalysisState.SUCCEEDED)
        bench.decoder.gates[25] = asyncio.Event()
        running, _ = await analyses.create(spec(bench.file(b"running")))
        await wait_for(analyses, running.id, AnalysisState.RUNNING)
        await until(lambda: len(analyses.runner.running()) == 1)
        database = analyses._store.database  # type: ignore[attr-defined]
        store = SqlOperations(database)
        alerting, history = Alerting("here", store), History("here", store)
        await alerting.start()
        eye = Eye("eye", Seen((bad("disk/data"), bad("model/x", Status.CRITICAL)), {"cpu_ratio": 0.5}))
        watching = Watching("here", [eye], alerting)
        watching.subscribe(history.looked)
        async with aside(alerting.run()):
            await _looks(watching, history)
            eye.seen = Seen((bad("disk/data"), good("model/x")), {"cpu_ratio": 0.5})
            await _looks(watching, history)
            async with asyncio.timeout(SOON):
                while len(await alerting.alerts(AlertFilter())) < 2:
                    await asyncio.sleep(0.01)
            abilities = Abilities(lambda model: (), FakeModelServer({"labels": [1]}), {"uploads": lambda: ""}, {})
            maintenance = Maintenance(bench.folder, analyses.pause)
            statistics = SqlStatistics(database)
            blobs = LocalBlobs(bench.folder / "blobs")
            await blobs.put("thumbnails/nobody/0", b"old")
            os.utime(bench.folder / "blobs/thumbnails/nobody/0", (0, 0))
            cleaner = Cleaner(analyses._store, SqlPast(database), blobs, LocalBlobs(bench.folder / "spool"))
            control = Control(
                "here", analyses, statistics, maintenance, abilities, lambda **_: ("roots",), cleaner.clean
            )
            yield OperationsService(control, Observing(watching, alerting, history))


async def _looks(watching: Watching, history: History) -> None:
    for _ in range(2):
        await watching.look()
        await history.keep()


IMPLEMENTATIONS: dict[str, Opening] = {"fake": in_memory, "service": over_a_store}


@pytest.fixture(params=list(IMPLEMENTATIONS))
async def operations(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Operations]:
    async with IMPLEMENTATIONS[request.param](tmp_path, monkeypatch) as opened:
        yield opened


async def test_health_is_by_name_and_as_bad_as_its_worst(operations: Operations) -> None:
    health = operations.health()
    names = [each.reading.component for each in health.components]
    assert names == sorted(set(names))
    assert health.status is worst(each.reading.status for each in health.components)
    assert all(each.since <= health.time for each in health.components)
    assert health.time.tzinfo is not None
    assert health.server == operations.status().server


async def test_stats_of_a_period(operations: Operations) -> None:
    stats = await operations.stats(24)
    assert (stats.hours, stats.ended > 0) == (24, True)
    assert all(state.ended for state in stats.states)
    lost = sum(stats.states.get(state, 0) for state in (AnalysisState.FAILED, AnalysisState.QUARANTINED))
    assert sum(stats.reasons.values()) >= lost
    now = operations.health().time
    assert (await operations.stats(24, until=now)).hours == 24
    assert (await operations.stats(24, profile="nobody asked for this")).ended == 0


@pytest.mark.parametrize("hours", [0, -1, 8760.5, float("nan"), float("inf")])
async def test_hours_that_are_none(operations: Operations, hours: float) -> None:
    with pytest.raises(InvalidRequest):
        await operations.stats(hours)
    with pytest.raises(InvalidRequest):
        await operations.samples(hours)


async def test_samples_are_oldest_first_and_not_too_many(operations: Operations) -> None:
    samples = await operations.samples(24 * 14)
    assert samples
    assert [each.time for each in samples] == sorted(each.time for each in samples)
    for server in {each.server for each in samples}:
        assert 0 < len([each for each in samples if each.server == server]) <= 1000
        assert {each.server for each in await operations.samples(24, server)} <= {server}
    assert not await operations.samples(24, "no such server")


async def test_sessions_are_longest_first(operations: Operations) -> None:
    started = [each.started for each in await operations.sessions()]
    assert started
    assert started == sorted(started)


async def test_only_what_there_is_is_terminated(operations: Operations) -> None:
    with pytest.raises(NotFound):
        await operations.terminate("nothing", **ME)
    for session in await operations.sessions():
        record = await operations.terminate(session.analysis_id, **ME)
        assert (record.id, record.state.ended) == (session.analysis_id, True)
    assert not await operations.sessions()


async def test_alerts_are_newest_first_and_chosen(operations: Operations) -> None:
    alerts = await operations.alerts(AlertFilter())
    assert {each.resolved is None for each in alerts} == {True, False}
    assert [each.raised for each in alerts] == sorted((each.raised for each in alerts), reverse=True)
    for level in {each.level for each in alerts}:
        assert {each.level for each in await operations.alerts(AlertFilter(level=level))} == {level}
    assert not [each for each in await operations.alerts(AlertFilter(open=True)) if each.resolved]
    for component in {each.component for each in alerts}:
        pattern = component.partition("/")[0] + "*"
        found = await operations.alerts(AlertFilter(component=pattern))
        assert component in {each.component for each in found}
    assert not await operations.alerts(AlertFilter(component="no such component"))
    assert len(await operations.alerts(AlertFilter(), limit=1)) <= 1


async def test_a_silence_is_in_force_until_it_is_ended(operations: Operations) -> None:
    before = {each.id for each in await operations.silences()}
    made = await operations.silence("triton", 3600, **ME)
    assert (made.pattern, made.who, made.why) == ("triton", "me@here", "to see")
    assert (made.until - made.created).total_seconds() == pytest.approx(3600)
    assert {each.id for each in await operations.silences()} == before | {made.id}
    await operations.end_silence(made.id)
    assert {each.id for each in await operations.silences()} == before
    with pytest.raises(NotFound):
        await operations.end_silence(made.id)


@pytest.mark.parametrize(("pattern", "seconds"), [("", 60), ("*", 0), ("*", -1)])
async def test_silences_that_are_none(operations: Operations, pattern: str, seconds: float) -> None:
    with pytest.raises(InvalidRequest):
        await operations.silence(pattern, seconds, **ME)


async def test_a_clean_up_lets_go_what_is_old(operations: Operations) -> None:
    would = await operations.clean_up(dry_run=True, **ME)
    assert (len(would.removed), would.kept) == (1, ())
    with pytest.raises(InvalidRequest):
        await operations.clean_up(dry_run=False, who="", why="")
    assert await operations.clean_up(dry_run=False, **ME) == would
    assert await operations.clean_up(dry_run=False, **ME) == Cleaned()


async def test_maintenance(operations: Operations) -> None:
    assert (operations.status().accepting, operations.status().maintenance) == (True, "")
    await operations.set_maintenance(True, **ME)
    status = operations.status()
    assert (status.accepting, status.maintenance, status.maintenance_by) == (False, "to see", "me@here")
    assert status.maintenance_since is not None
    await operations.set_maintenance(False, **ME)
    assert (operations.status().accepting, operations.status().maintenance) == (True, "")

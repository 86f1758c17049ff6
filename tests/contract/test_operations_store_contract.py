"""What a store of alerts, silences and samples promises, whatever the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.operations import SqlOperations
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.core.alerting import AlertFilter, Level
from orchestrator.core.jobs import AnalysisState, UploadState
from orchestrator.core.media import Ledger
from orchestrator.core.statistics import Sample
from orchestrator.errors import NotFound
from orchestrator.pipeline.operation_ports import OperationsStore
from tests.support.operations_store import MINUTE, THEN, MemoryOperations, alert, silence
from tests.support.store_values import DAWN, FAILED, FINISHED, UPLOAD, Clock, ended, running, spec

LATER = THEN + timedelta(hours=2)


@asynccontextmanager
async def audited(target: str | Path) -> AsyncIterator[SqlOperations]:
    async with open_store(target) as opened:
        yield SqlOperations(opened.database)
        assert [finding for finding in await opened.run(audit) if finding.count] == []


@pytest.fixture(params=["sqlite_dir", "postgres_url", ""])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[OperationsStore]:
    """Every implementation, that of the tests included."""
    if not request.param:
        yield MemoryOperations()
        return
    async with audited(request.getfixturevalue(request.param)) as opened:
        yield opened


@pytest.fixture
async def analyses(store_target: str | Path) -> AsyncIterator[SqlAnalysisStore]:
    async with open_store(store_target, clock=Clock()) as opened:
        yield opened


async def test_it_answers(store: OperationsStore) -> None:
    await store.answer()


async def test_an_alert_is_kept_as_it_is_and_as_it_becomes(store: OperationsStore) -> None:
    first = alert(summary="quotes ' \" and\nlines, ü", value=1 / 3)
    second = alert("b", component="queue", raised=THEN + MINUTE)
    await store.keep([first, second])
    assert await store.alerts(AlertFilter(), 10) == [second, first]
    over = replace(first, level=Level.CRITICAL, resolved=LATER, changed=LATER, silenced_by="s", notified=True)
    await store.keep([over])
    assert await store.alerts(AlertFilter(), 10) == [second, over]
    assert await store.alerts(AlertFilter(), 1) == [second]
    await store.keep([])


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (AlertFilter(level=Level.CRITICAL), "c"),
        (AlertFilter(open=True), "cb"),
        (AlertFilter(component="disk/*"), "ba"),
        (AlertFilter(component="*"), "cba"),
        (AlertFilter(component="d%"), ""),
        (AlertFilter(component="disk_data"), ""),
        (AlertFilter(component="model/a.b_c"), "c"),
        (AlertFilter(component="*data", open=True), "b"),
    ],
)
async def test_a_listing_takes_what_it_is_asked_for(store: OperationsStore, query: AlertFilter, names: str) -> None:
    every = [
        alert("a", resolved=LATER),
        alert("b", raised=THEN + MINUTE),
        alert("c", raised=THEN + 2 * MINUTE, component="model/a.b_c", level=Level.CRITICAL),
    ]
    await store.keep(every)
    assert "".join(each.id for each in await store.alerts(query, 10)) == names


async def test_what_a_server_left_open_or_untold_is_found_by_the_next_one(store: OperationsStore) -> None:
    await store.keep(
        [
            alert("open", notified=True),
            alert("untold", component="queue", resolved=LATER),
            alert("settled", component="cpu", resolved=LATER, notified=True),
            alert("another's", server="there"),
        ]
    )
    assert {each.id for each in await store.unsettled("here")} == {"open", "untold"}


async def test_a_silence_lasts_until_it_ends(store: OperationsStore) -> None:
    short, long = silence("short"), silence("long", until=LATER)
    await store.silence(long)
    await store.silence(short)
    assert await store.silences(THEN) == [short, long]
    assert await store.silences(short.until) == [long]
    await store.end_silence("long", THEN + MINUTE)
    assert await store.silences(THEN + MINUTE) == [short]
    for name in ("long", "nobody's"):
        with pytest.raises(NotFound):
            await store.end_silence(name, THEN + MINUTE)


async def test_samples_of_a_time_are_read_back(store: OperationsStore) -> None:
    mine = [Sample("here", THEN + n * MINUTE, {"cpu_ratio": 0.125, "disk_free_bytes/data": 1e12 + n}) for n in range(5)]
    other = Sample("there", THEN + MINUTE, {})
    for each in (*mine, other):
        await store.add(each)
    assert [(each.server, each.time) for each in await store.samples(THEN, THEN + MINUTE, 100)] == [
        ("here", THEN),
        ("here", THEN + MINUTE),
        ("there", THEN + MINUTE),
    ]
    found = await store.samples(THEN + MINUTE, LATER, 1000, "here")
    assert [each.time for each in found] == [each.time for each in mine[1:]]
    assert found[0].values == {"cpu_ratio": 0.125, "disk_free_bytes/data": pytest.approx(1e12, rel=1e-5)}
    assert await store.samples(THEN, LATER, 100, "nobody") == []


@pytest.mark.parametrize("points", [1, 7, 99, 100, 1000])
async def test_samples_are_thinned_out_evenly_server_by_server(store: OperationsStore, points: int) -> None:
    for n in range(100):
        for server in ("here", "there")[: 1 + (n < 50)]:
            await store.add(Sample(server, THEN + n * MINUTE, {"n": float(n)}))
    until = THEN + 99 * MINUTE
    found = await store.samples(THEN, until, points)
    for server, count in (("here", 100), ("there", 50)):
        times = [each.time for each in found if each.server == server]
        assert min(points, count) * 0.49 <= len(times) <= points
        gaps = [after - before for before, after in pairwise(times)]
        assert max(gaps, default=MINUTE) <= (until - THEN) / points + 2 * MINUTE
    assert found[-1].values == {"n": 99.0}  # the newest is always there


async def test_the_past_is_forgotten_and_what_is_open_is_not(store: OperationsStore) -> None:
    await store.keep(
        [alert("old", resolved=THEN), alert("new", component="cpu", resolved=LATER), alert("open", component="queue")]
    )
    await store.silence(silence(until=THEN))
    await store.silence(silence("on", until=LATER))
    await store.add(Sample("here", THEN, {}))
    await store.add(Sample("here", LATER, {}))
    await store.prune(THEN + MINUTE)
    assert {each.id for each in await store.alerts(AlertFilter(), 10)} == {"new", "open"}
    assert [each.id for each in await store.silences(THEN - MINUTE)] == ["on"]
    assert [each.time for each in await store.samples(THEN, LATER, 10)] == [LATER]


async def test_alerts_of_a_server_that_is_gone_are_over(store: OperationsStore) -> None:
    await store.keep([alert("mine"), alert("gone", server="there"), alert("done", server="there", resolved=THEN)])
    await store.add(Sample("here", LATER, {}))
    await store.add(Sample("there", THEN, {}))
    await store.bury(THEN + MINUTE, LATER)
    found = {each.id: each for each in await store.alerts(AlertFilter(), 10)}
    assert (found["mine"].resolved, found["done"].resolved) == (None, THEN)
    assert (found["gone"].resolved, found["gone"].notified) == (LATER, True)


async def test_the_backlog_is_what_could_run(analyses: SqlAnalysisStore) -> None:
    store = SqlOperations(analyses.database)
    assert (await store.backlog()).waiting == 0
    await running(analyses, "running")
    await ended(analyses, "ended")
    await analyses.create("client's turn", UPLOAD, limit=100)
    await analyses.create("uploaded", replace(UPLOAD, request_id="u"), limit=100)
    await analyses.set_upload("uploaded", UploadState(5, True))
    await analyses.create("file", spec("r"), limit=100)
    found = await store.backlog()
    assert (found.waiting, found.unended) == (2, 4)
    assert found.oldest == (await analyses.get("uploaded")).create_time


async def test_how_analyses_ended_of_late(analyses: SqlAnalysisStore) -> None:
    store = SqlOperations(analyses.database)
    await ended(analyses, "before")
    since = (await analyses.get("before")).end_time
    assert since is not None
    since += timedelta(microseconds=1)
    for name in ("one", "two"):
        finished = replace(FINISHED, ledger=Ledger(source=50, expected=40, decoded=37, dropped=3))
        await analyses.end(await running(analyses, name), finished, AnalysisState.SUCCEEDED)
    for name, reason, state in (
        ("bad", "MEDIA_UNREADABLE", AnalysisState.FAILED),
        ("worse", "INTERNAL", AnalysisState.QUARANTINED),
        ("bad too", "MEDIA_UNREADABLE", AnalysisState.FAILED),
        ("gone", "CANCELLED", AnalysisState.CANCELLED),
    ):
        await analyses.end(await running(analyses, name), replace(FAILED, reason=reason), state)
    found = await store.ends(since)
    assert (found.succeeded, found.failed) == (2, {"MEDIA_UNREADABLE": 2, "INTERNAL": 1})
    assert found.frames == {"expected": 80, "dropped": 6}
    assert (await store.ends(DAWN)).succeeded == 3

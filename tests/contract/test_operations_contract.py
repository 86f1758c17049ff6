"""What every implementation of the port ``Operations`` does, whatever is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from orchestrator.api.ports import Operations
from orchestrator.core.alerting import AlertFilter
from orchestrator.core.health import worst
from orchestrator.core.jobs import AnalysisState
from orchestrator.errors import InvalidRequest, NotFound
from tests.support.operations import eventful

ME = {"who": "me@here", "why": "to see"}

Opening = Callable[[], AbstractAsyncContextManager[Operations]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Operations]:
    yield eventful()


IMPLEMENTATIONS: dict[str, Opening] = {"fake": in_memory}


@pytest.fixture(params=list(IMPLEMENTATIONS))
async def operations(request: pytest.FixtureRequest) -> AsyncIterator[Operations]:
    async with IMPLEMENTATIONS[request.param]() as opened:
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
    assert stats.hours == 24
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
    assert [each.time for each in samples] == sorted(each.time for each in samples)
    for server in {each.server for each in samples}:
        assert 0 < len([each for each in samples if each.server == server]) <= 1000
        assert {each.server for each in await operations.samples(24, server)} <= {server}
    assert not await operations.samples(24, "no such server")


async def test_sessions_are_longest_first(operations: Operations) -> None:
    started = [each.started for each in await operations.sessions()]
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


async def test_maintenance(operations: Operations) -> None:
    assert (operations.status().accepting, operations.status().maintenance) == (True, "")
    await operations.set_maintenance(True, **ME)
    status = operations.status()
    assert (status.accepting, status.maintenance, status.maintenance_by) == (False, "to see", "me@here")
    assert status.maintenance_since is not None
    await operations.set_maintenance(False, **ME)
    assert (operations.status().accepting, operations.status().maintenance) == (True, "")

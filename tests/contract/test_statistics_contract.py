"""Statistics of both databases against what was computed by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.adapters.stores.statistics import SqlStatistics
from orchestrator.core.jobs import AnalysisState, ReusePlan
from orchestrator.core.media import Ledger
from orchestrator.core.results import Failed, Finished
from orchestrator.core.statistics import Spent, Spread, Stats
from orchestrator.errors import NotFound
from tests.support.store_values import DAWN, FAILED, FINISHED, STARTED, checkpoint, segment, spec

SECOND = 10**9
STATE = AnalysisState


@dataclass
class World:
    """A store whose clock stands still until somebody moves it."""

    store: SqlAnalysisStore
    now: datetime = DAWN

    @property
    def statistics(self) -> SqlStatistics:
        return SqlStatistics(self.store.database)

    async def ended(
        self,
        name: str,
        event: Finished | Failed,
        state: AnalysisState,
        *,
        waited: float,
        took: float,
        spent: Spent | None = None,
        reused: bool = False,
        profile: str = "default",
    ) -> None:
        """An analysis that waits, runs and ends, one behind the other."""
        await self.store.create(name, spec(profile=profile), limit=1000)
        self.now += timedelta(seconds=waited)
        lease = await self.store.claim(name, "there/1")
        assert lease is not None
        await self.store.begin(lease, STARTED, ReusePlan("earlier", ("labels",)) if reused else None)
        self.now += timedelta(seconds=took)
        await self.store.end(lease, event, state, (), spent)

    async def stats(self, hours: float = 24, profile: str = "") -> Stats:
        return await self.statistics.stats(hours, self.now + timedelta(seconds=1), profile)


@pytest.fixture
async def world(store_target: str | Path) -> AsyncIterator[World]:
    worlds: list[World] = []
    async with open_store(store_target, clock=lambda: worlds[0].now) as store:
        worlds.append(World(store))
        yield worlds[0]


def finished(media_s: float, elapsed_s: float, **changes: object) -> Finished:
    ledger = Ledger(source=100, expected=50, decoded=48, corrupt=1, dropped=1, skipped=50, reused=20, redecoded=2)
    known = replace(FINISHED, media_ns=int(media_s * SECOND), elapsed_ns=int(elapsed_s * SECOND), ledger=ledger)
    return replace(known, **changes)  # type: ignore[arg-type]


async def test_of_nothing_everything_is_nothing(world: World) -> None:
    stats = await world.stats()
    assert stats == Stats(24)
    assert (stats.ended, stats.success_rate, stats.duplicate_rate) == (0, 1.0, 0.0)


async def test_what_was_computed_by_hand(world: World) -> None:
    spent = Spent({"open": 0.25, "decode": 1.5, "infer/labels": 2.0, "model/labels": 1.75}, {"labels": (40, 10)})
    other = Spent({"open": 0.5, "segment": 0.125}, {"labels": (10, 0), "objects": (50, 15)})
    await world.ended("one", finished(10, 2), STATE.SUCCEEDED, waited=1, took=4, spent=spent)
    await world.ended("two", finished(10, 4), STATE.SUCCEEDED, waited=2, took=5, spent=other)
    await world.ended("three", finished(20, 30, partial=True), STATE.SUCCEEDED, waited=3, took=40)
    await world.ended("known", finished(20, 0.002), STATE.SUCCEEDED, waited=0, took=1, reused=True)
    await world.ended("bad", FAILED, STATE.FAILED, waited=0, took=2, spent=Spent({"open": 1.0}))
    await world.ended("worse", replace(FAILED, reason="INTERNAL"), STATE.QUARANTINED, waited=0, took=8)
    await world.store.create("unwanted", spec(), limit=1000)
    world.now += timedelta(seconds=7)
    await world.store.request_cancel("unwanted")
    stats = await world.stats()
    assert stats.states == {STATE.SUCCEEDED: 4, STATE.FAILED: 1, STATE.QUARANTINED: 1, STATE.CANCELLED: 1}
    assert stats.reasons == {"MEDIA_UNREADABLE": 1, "INTERNAL": 1, "CANCELLED": 1}
    assert (stats.ended, stats.success_rate, stats.partial) == (7, 4 / 6, 1)
    assert stats.media_seconds == 60.0
    assert stats.elapsed == Spread(6, 10.0, 4.0, 40.0, 40.0)  # 4 5 40 1 2 8: the unwanted one never began
    assert stats.waiting == Spread(6, 1.0, 0.0, 3.0, 3.0)
    assert stats.realtime_factor == Spread(3, pytest.approx(2.1 / 3), 0.4, 1.5, 1.5)  # type: ignore[arg-type]
    assert stats.stages == {
        "open": 1.75,
        "decode": 1.5,
        "infer/labels": 2.0,
        "model/labels": 1.75,
        "segment": 0.125,
    }
    assert stats.frames == {
        "source": 400,
        "expected": 200,
        "decoded": 192,
        "corrupt": 4,
        "dropped": 4,
        "skipped": 200,
        "reused": 80,
        "redecoded": 8,
    }
    assert (stats.frames_analyzed, stats.frames_reused, stats.duplicate_rate) == (100, 25, 0.25)


async def test_percentiles_are_values_that_were_measured(world: World) -> None:
    for number in range(1, 21):
        await world.ended(f"{number}", finished(1, number), STATE.SUCCEEDED, waited=0, took=number)
    stats = await world.stats()
    assert stats.elapsed == Spread(20, 10.5, 10.0, 19.0, 20.0)
    assert stats.realtime_factor == stats.elapsed


async def test_the_window_and_the_profile(world: World) -> None:
    for hour in range(5):
        await world.ended(f"{hour}", finished(1, 1), STATE.SUCCEEDED, waited=0, took=0, profile=f"p{hour % 2}")
        world.now += timedelta(hours=1)
    world.now -= timedelta(hours=1)
    assert [(await world.stats(hours)).ended for hours in (0.5, 1.5, 2.5, 100)] == [1, 2, 3, 5]
    assert [(await world.stats(100, profile)).ended for profile in ("p0", "p1", "p2")] == [3, 2, 0]
    past = await world.statistics.stats(2, world.now - timedelta(hours=1), "")
    assert past.ended == 2, "the end of a window is not within it, its begin is"


async def test_what_it_took_stays_known_when_the_analysis_is_forgotten(world: World) -> None:
    await world.ended("one", finished(10, 2), STATE.SUCCEEDED, waited=1, took=4)
    before = await world.stats()
    await world.store.delete("one")
    with pytest.raises(NotFound):
        await world.store.get("one")
    assert await world.stats() == before
    await world.ended("one", finished(10, 3), STATE.SUCCEEDED, waited=1, took=4)
    assert (await world.stats()).ended == 1, "an id that is used again is one analysis"
    await world.ended("two", finished(10, 2), STATE.SUCCEEDED, waited=1, took=4)
    assert await world.statistics.forget(world.now) == 1
    assert (await world.stats()).ended == 1


async def test_one_that_goes_on_counts_once(world: World) -> None:
    await world.store.create("one", spec(), limit=1000)
    for _ in range(3):
        lease = await world.store.claim("one", "there/1")
        assert lease is not None
        world.now += timedelta(seconds=5)
        await world.store.requeue(lease, reason="YIELD")
    assert (await world.stats()).ended == 0
    lease = await world.store.claim("one", "there/1")
    assert lease is not None
    await world.store.begin(lease, STARTED, None)
    await world.store.end(lease, finished(1, 1), STATE.SUCCEEDED)
    stats = await world.stats()
    assert (stats.ended, stats.elapsed.max, stats.waiting.max) == (1, 15.0, 0.0)


async def test_what_runs_and_how_far_it_is(world: World) -> None:
    await world.ended("done", finished(1, 1), STATE.SUCCEEDED, waited=0, took=1)
    for name, segments in (("new", None), ("begun", 0), ("far", 3)):
        await world.store.create(name, spec(), limit=1000)
        lease = await world.store.claim(name, f"server-of-{name}/77")
        assert lease is not None
        if segments is not None:
            await world.store.begin(lease, STARTED, None)
        for index in range(segments or 0):
            world.now += timedelta(seconds=10)
            await world.store.commit_segment(lease, segment(index), checkpoint(index))
    found = {each.record.id: each for each in await world.statistics.running()}
    assert set(found) == {"new", "begun", "far"}
    far = found["far"]
    assert far.record == await world.store.get("far")
    assert (far.owner, far.progressed) == ("server-of-far/77", world.now)
    assert far.media_ns == 3 * 4 * SECOND // 10  # 5120 of 12800 ticks a second each
    assert found["begun"].media_ns == found["new"].media_ns == 0
    assert found["new"].progressed == found["new"].record.start_time


async def test_who_asked_for_an_end_is_known_at_every_server(world: World) -> None:
    for name, asked, known in (
        ("a", [None], None),
        ("b", ["why"], "why"),
        ("c", [None, "why"], None),
        ("d", ["", None], ""),
    ):
        await world.store.create(name, spec(), limit=1000)
        lease = await world.store.claim(name, "there/1")
        assert lease is not None
        for terminated in asked:
            await world.store.request_cancel(name, terminated=terminated)
        record = await world.store.beat(lease)
        assert (record.cancel_requested, record.terminated) == (True, known)
        await world.store.requeue(lease, reason="YIELD")
        ended = await world.store.request_cancel(name)
        assert ended.failure is not None
        assert (
            ended.failure.message
            == {
                None: "the analysis was cancelled",
                "why": "an operator ended the analysis: why",
                "": "an operator ended the analysis",
            }[known]
        )

"""Alerts at work: kept, told to whoever is to hear, gone on with after a restart, and silenced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from orchestrator.core.alerting import Alert, AlertFilter, Level
from orchestrator.core.health import Status
from orchestrator.errors import InvalidRequest, NotFound, StoreUnavailable
from orchestrator.pipeline import alerting as module
from orchestrator.pipeline.alerting import Alerting
from tests.support.operations_store import THEN, MemoryOperations, alert, bad, good, silence

OPEN = AlertFilter(open=True)
GONE = StoreUnavailable("the database does not answer")


@dataclass
class Ear:
    """A ``Notifier`` that hears, unless it is deaf."""

    heard: list[Alert] = field(default_factory=list)
    deaf: bool = False
    tries: int = 0

    async def tell(self, alert: Alert) -> bool:
        self.tries += 1
        if not self.deaf:
            self.heard.append(alert)
        return not self.deaf

    @property
    def news(self) -> list[tuple[str, bool]]:
        return [(each.level.value, each.resolved is not None) for each in self.heard]


@dataclass
class Bench:
    """A store, an ear, and a clock that stands still until it is moved."""

    store: MemoryOperations = field(default_factory=MemoryOperations)
    ear: Ear = field(default_factory=Ear)
    now: datetime = THEN
    outcomes: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def run(self, *, nobody: bool = False) -> AsyncIterator[Alerting]:
        ear = None if nobody else self.ear
        alerting = Alerting("here", self.store, ear, on_delivery=self.outcomes.append, now=lambda: self.now)
        await alerting.start()
        task = asyncio.create_task(alerting.run())
        try:
            yield alerting
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.01)
    monkeypatch.setattr(module, "PAUSE_SECONDS", (0.01, 0.02))
    return Bench()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def twice(alerting: Alerting, *readings: object) -> None:
    alerting.see(readings)  # type: ignore[arg-type]
    alerting.see(readings)  # type: ignore[arg-type]


def settled(bench: Bench) -> bool:
    return bool(bench.store.kept) and all(each.notified for each in bench.store.kept.values())


async def test_an_alert_is_logged_kept_and_told_and_so_is_its_end(bench: Bench) -> None:
    async with bench.run() as alerting:
        with capture_logs() as logs:
            twice(alerting, bad(), good("cpu"))
            await until(lambda: settled(bench))
            twice(alerting, bad(status=Status.CRITICAL, value=0.95), good("cpu"))
            await until(lambda: bench.ear.news == [("WARNING", False), ("CRITICAL", False)])
            assert alerting.counts() == {Level.WARNING: 0, Level.CRITICAL: 1}
            twice(alerting, good(), good("cpu"))
            await until(lambda: len(bench.ear.heard) == 3 and settled(bench))
        assert bench.ear.news[-1] == ("CRITICAL", True)
        [kept] = bench.store.kept.values()
        assert (kept.server, kept.component, kept.level, kept.value) == ("here", "disk/data", Level.CRITICAL, 0.95)
        assert kept.resolved == THEN
        assert alerting.counts() == {Level.WARNING: 0, Level.CRITICAL: 0}
        assert bench.outcomes == ["delivered"] * 3
    lines = [(line["event"], line["log_level"]) for line in logs]
    assert lines == [("alert.raised", "warning"), ("alert.worsened", "error"), ("alert.resolved", "info")]
    assert {line["runbook"] for line in logs} == {"disk"}
    assert {line["subject"] for line in logs} == {"disk/data"}


async def test_news_that_were_not_delivered_are_tried_again(bench: Bench) -> None:
    bench.ear.deaf = True
    async with bench.run() as alerting:
        twice(alerting, bad())
        await until(lambda: bench.ear.tries >= 4)
        assert not settled(bench)
        bench.ear.deaf = False
        await until(lambda: settled(bench))
        assert bench.ear.news == [("WARNING", False)]
        assert bench.outcomes[:3] == ["failed"] * 3
        tries = bench.ear.tries
        await asyncio.sleep(0.1)
        assert bench.ear.tries == tries  # and not once more


async def test_they_are_tried_again_after_a_restart(bench: Bench) -> None:
    bench.ear.deaf = True
    async with bench.run() as alerting:
        twice(alerting, bad())
        await until(lambda: bench.store.kept)
        twice(alerting, good())
        await until(lambda: any(each.resolved for each in bench.store.kept.values()))
    bench.ear.deaf = False
    async with bench.run():
        await until(lambda: settled(bench))
    assert bench.ear.news == [("WARNING", True)]  # that it is over is all there is to say


async def test_an_open_alert_is_gone_on_with_after_a_restart(bench: Bench) -> None:
    async with bench.run() as alerting:
        twice(alerting, bad())
        await until(lambda: settled(bench))
    async with bench.run() as alerting:
        twice(alerting, bad())
        assert alerting.counts()[Level.WARNING] == 1
        twice(alerting, good())
        await until(lambda: bench.ear.news == [("WARNING", False), ("WARNING", True)])
        await until(lambda: settled(bench))
    assert len(bench.store.kept) == 1


async def test_of_two_open_alerts_of_one_component_the_newer_one_stays(bench: Bench) -> None:
    await bench.store.keep([alert("old"), alert("new", raised=THEN + timedelta(seconds=1))])
    async with bench.run() as alerting:
        await until(lambda: bench.store.kept["old"].resolved)
        assert [each.id for each in await alerting.alerts(OPEN)] == ["new"]


async def test_a_component_that_nobody_speaks_of_any_more_is_well(bench: Bench) -> None:
    async with bench.run() as alerting:
        twice(alerting, bad("model/labels"))
        await until(lambda: settled(bench))
        twice(alerting)
        await until(lambda: bench.ear.news == [("WARNING", False), ("WARNING", True)])


async def test_trouble_of_the_store_is_told_while_the_store_is_away(bench: Bench) -> None:
    async with bench.run() as alerting:
        bench.store.fault = GONE
        twice(alerting, bad("database", Status.CRITICAL))
        await until(lambda: bench.ear.news == [("CRITICAL", False)])
        assert [each.component for each in await alerting.alerts(OPEN)] == ["database"]
        assert bench.store.kept == {}
        bench.store.fault = None
        await until(lambda: settled(bench))
        assert [each.component for each in await alerting.alerts(OPEN)] == ["database"]


async def test_the_newest_bad_reading_is_what_is_told(bench: Bench) -> None:
    async with bench.run() as alerting:
        twice(alerting, bad(value=0.85))
        await until(lambda: settled(bench))
        alerting.see([bad(value=0.88)])
        alerting.see([good()])
        [listed] = await alerting.alerts(OPEN)
        assert (listed.value, listed.summary) == (0.88, "disk/data: does not work")  # it has no limits


async def test_nobody_is_told_in_a_silence_and_everybody_is_after_it(bench: Bench) -> None:
    async with bench.run() as alerting:
        quiet = await alerting.silence("disk/*", 3600, who="me", why="a new disk")
        assert await alerting.silences() == [quiet]
        twice(alerting, bad(), bad("queue"))
        await until(lambda: settled(bench) and len(bench.store.kept) == 2)
        assert [each.component for each in bench.ear.heard] == ["queue"]
        assert {each.component: each.silenced_by for each in bench.store.kept.values()} == {
            "disk/data": quiet.id,
            "queue": "",
        }
        await alerting.end_silence(quiet.id)
        assert await alerting.silences() == []
        await until(lambda: [each.component for each in bench.ear.heard] == ["queue", "disk/data"])
        with pytest.raises(NotFound):
            await alerting.end_silence(quiet.id)


async def test_what_ended_in_a_silence_is_never_told(bench: Bench) -> None:
    await bench.store.silence(silence())
    async with bench.run() as alerting:
        twice(alerting, bad())
        await until(lambda: settled(bench))
        twice(alerting, good())
        bench.now += timedelta(hours=2)
        await until(lambda: all(each.resolved for each in bench.store.kept.values()))
        await asyncio.sleep(0.05)
        assert bench.ear.heard == []
        assert settled(bench)


async def test_a_silence_that_runs_out_ends_by_itself(bench: Bench) -> None:
    await bench.store.silence(silence())
    async with bench.run() as alerting:
        twice(alerting, bad())
        await until(lambda: settled(bench))
        bench.now += timedelta(hours=2)
        await until(lambda: bench.ear.news == [("WARNING", False)])


async def test_with_nobody_to_tell_all_is_told(bench: Bench) -> None:
    async with bench.run(nobody=True) as alerting:
        twice(alerting, bad())
        await until(lambda: settled(bench))
    assert bench.outcomes == []


async def test_another_one_can_be_told(bench: Bench) -> None:
    other = Ear()
    async with bench.run() as alerting:
        twice(alerting, bad())
        await until(lambda: settled(bench))
        alerting.tell_to(other)
        twice(alerting, good())
        await until(lambda: other.news == [("WARNING", True)])
    assert bench.ear.news == [("WARNING", False)]


async def test_what_changes_while_it_is_told_is_told_as_well(bench: Bench) -> None:
    async with bench.run() as alerting:
        said = bench.ear.tell

        async def slow(alert: Alert) -> bool:
            if not bench.ear.heard:
                twice(alerting, good())  # it ends while somebody is told that it began
            return await said(alert)

        bench.ear.tell = slow  # type: ignore[method-assign]
        twice(alerting, bad())
        await until(lambda: bench.ear.news == [("WARNING", False), ("WARNING", True)])
        await until(lambda: settled(bench))


async def test_alerts_of_others_are_listed_too(bench: Bench) -> None:
    await bench.store.keep([alert("theirs", server="there", raised=THEN - timedelta(hours=1))])
    async with bench.run() as alerting:
        twice(alerting, bad("queue"))
        assert [each.server for each in await alerting.alerts(OPEN)] == ["here", "there"]
        assert [each.server for each in await alerting.alerts(OPEN, 1)] == ["here"]
        assert [each.id for each in await alerting.alerts(AlertFilter(component="disk/*"))] == ["theirs"]


@pytest.mark.parametrize(("pattern", "seconds"), [("", 60), ("*", 0), ("*", -1), ("*", 1e9), ("*", float("nan"))])
async def test_a_silence_that_is_none(bench: Bench, pattern: str, seconds: float) -> None:
    async with bench.run() as alerting:
        with pytest.raises(InvalidRequest):
            await alerting.silence(pattern, seconds, who="me", why="")


async def test_a_fault_of_the_notifier_stops_nothing(bench: Bench) -> None:
    async with bench.run() as alerting:
        said = bench.ear.tell

        async def broken(alert: Alert) -> bool:
            bench.ear.tell = said  # type: ignore[method-assign]
            raise RuntimeError("somebody else's code")

        bench.ear.tell = broken  # type: ignore[method-assign]
        twice(alerting, bad())
        await until(lambda: settled(bench))
    assert replace(bench.ear.heard[0], notified=True) == next(iter(bench.store.kept.values()))

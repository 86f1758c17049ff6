"""The watcher: every probe is looked at, none can hold up the others, and all is told to who listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from orchestrator.core.alerting import AlertFilter, Level
from orchestrator.core.health import Reading, Seen, Status
from orchestrator.core.statistics import Sample
from orchestrator.errors import InvalidRequest, StoreUnavailable
from orchestrator.pipeline import history as history_module
from orchestrator.pipeline.alerting import Alerting
from orchestrator.pipeline.history import History
from orchestrator.pipeline.watching import Watching
from tests.support.operations_store import THEN, MemoryOperations, alert, bad, good


@dataclass
class Eye:
    """A probe that sees what it is told to, once it may."""

    name: str
    seen: Seen | Exception
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    looks: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def look(self) -> Seen:
        self.looks += 1
        await self.gate.wait()
        if isinstance(self.seen, Exception):
            raise self.seen
        return self.seen


class Ticking:
    """Goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = THEN

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def watching(*eyes: Eye, every: float = 0.1) -> tuple[Watching, MemoryOperations]:
    store = MemoryOperations()
    return Watching("here", eyes, Alerting("here", store), every=every, now=Ticking()), store


async def test_health_is_what_the_probes_see_by_name() -> None:
    watcher, _ = watching(
        Eye("b", Seen((good("b"),), {"b_ratio": 0.5})), Eye("a", Seen((bad("a/2"), good("a/1")), {"a_bytes": 7.0}))
    )
    assert watcher.health.components == ()
    health = await watcher.look()
    assert watcher.health is health
    assert [each.reading.component for each in health.components] == ["a/1", "a/2", "b"]
    assert (health.server, health.status) == ("here", Status.WARNING)
    assert watcher.values == {"b_ratio": 0.5, "a_bytes": 7.0}


async def test_a_component_is_as_it_is_since_its_status_changed() -> None:
    eye = Eye("a", Seen((good("a"),)))
    watcher, _ = watching(eye)
    first = (await watcher.look()).components[0].since
    eye.seen = Seen((Reading("a", Status.HEALTHY, 0.7, detail="other words"),))
    assert (await watcher.look()).components[0].since == first
    eye.seen = Seen((bad("a"),))
    since = (await watcher.look()).components[0].since
    assert since > first
    assert (await watcher.look()).components[0].since == since


async def test_a_probe_that_hangs_is_critical_until_it_answers_and_is_not_asked_twice() -> None:
    stuck, fine = Eye("disk", Seen((good("disk/data"), good("disk/uploads")))), Eye("b", Seen((good("b"),)))
    watcher, _ = watching(stuck, fine)
    await watcher.look()
    stuck.gate.clear()
    began = time.monotonic()
    for _ in range(3):
        health = await watcher.look()
        assert {each.reading.component: each.reading.status.name for each in health.components} == {
            "disk/data": "CRITICAL",
            "disk/uploads": "CRITICAL",
            "b": "HEALTHY",
        }
        assert "no answer for" in health.components[1].reading.detail
    assert time.monotonic() - began < 1
    assert (stuck.looks, fine.looks) == (2, 4)
    stuck.gate.set()
    assert (await watcher.look()).status is Status.HEALTHY


async def test_a_probe_that_hangs_from_the_start_is_known_by_its_name() -> None:
    stuck = Eye("disk", Seen())
    stuck.gate.clear()
    watcher, _ = watching(stuck)
    assert [each.reading.component for each in (await watcher.look()).components] == ["disk"]


@pytest.mark.parametrize(
    ("error", "said"),
    [(StoreUnavailable("it does not answer"), "it does not answer"), (OSError(5, "/secret"), "OSError")],
)
async def test_a_probe_that_fails_is_critical_and_says_no_secrets(error: Exception, said: str) -> None:
    watcher, _ = watching(Eye("a", error))
    [component] = (await watcher.look()).components
    assert (component.reading.status, component.reading.detail) == (Status.CRITICAL, said)


async def test_listeners_hear_of_every_look_and_of_open_alerts() -> None:
    eye = Eye("a", Seen((bad("a", Status.CRITICAL),), {"a_ratio": 1.0}))
    watcher, _ = watching(eye)
    heard: list[tuple[list[str], Mapping[str, float], Mapping[Level, int]]] = []

    def listen(readings: Iterable[Reading], values: Mapping[str, float], alerts: Mapping[Level, int]) -> None:
        heard.append(([each.component for each in readings], dict(values), dict(alerts)))

    watcher.subscribe(listen)
    await watcher.look()
    await watcher.look()
    none, one = {Level.WARNING: 0, Level.CRITICAL: 0}, {Level.WARNING: 0, Level.CRITICAL: 1}
    assert heard == [(["a"], {"a_ratio": 1.0}, none), (["a"], {"a_ratio": 1.0}, one)]


async def test_it_can_look_with_other_eyes_while_one_hangs() -> None:
    stuck = Eye("a", Seen())
    stuck.gate.clear()
    watcher, _ = watching(stuck)
    await watcher.look()
    watcher.look_with([Eye("b", Seen((good("b"),)))])
    assert [each.reading.component for each in (await watcher.look()).components] == ["b"]
    stuck.gate.set()


async def test_it_looks_again_and_again_whatever_a_listener_does() -> None:
    eye = Eye("a", Seen((good("a"),)))
    watcher, _ = watching(eye, every=0.02)

    def fail(*_: object) -> None:
        raise RuntimeError("a listener's own trouble")

    watcher.subscribe(fail)
    task = asyncio.create_task(watcher.run())
    async with asyncio.timeout(5):
        while eye.looks < 5:
            await asyncio.sleep(0.01)
    task.cancel()


async def test_an_alert_is_there_within_three_periods_though_the_probe_hangs() -> None:
    every = 0.2
    stuck = Eye("a", Seen((good("a"),)))
    store = MemoryOperations()
    alerting = Alerting("here", store)
    watcher = Watching("here", [stuck], alerting, every=every)
    task = asyncio.create_task(watcher.run())
    await asyncio.sleep(every / 2)
    stuck.gate.clear()
    began = time.monotonic()
    async with asyncio.timeout(5):
        while not await alerting.alerts(AlertFilter(open=True)):
            await asyncio.sleep(0.01)
    assert time.monotonic() - began <= 3 * every
    task.cancel()


async def test_a_sample_is_the_mean_of_what_was_seen() -> None:
    store = MemoryOperations()
    history = History("here", store, now=lambda: THEN)
    await history.keep()
    assert store.added == []  # nothing was seen
    history.looked([], {"cpu_ratio": 0.25, "gpu_ratio/0": 1.0}, {})
    history.looked([], {"cpu_ratio": 0.75}, {})
    await history.keep()
    assert store.added == [Sample("here", THEN, {"cpu_ratio": 0.5, "gpu_ratio/0": 1.0})]
    history.looked([], {"cpu_ratio": 0.125}, {})
    await history.keep()
    assert store.added[1].values == {"cpu_ratio": 0.125}


async def test_history_goes_on_when_the_store_is_back_and_lets_go_of_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "PRUNE_SECONDS", 0.0)
    store = MemoryOperations()
    old = Sample("here", THEN - timedelta(days=31), {})
    await store.add(old)
    await store.keep([alert("gone", server="there")])
    store.fault = StoreUnavailable("away")
    history = History("here", store, every=0.01, days=30, now=lambda: THEN)
    task = asyncio.create_task(history.run())
    history.looked([], {"a": 1.0}, {})
    await asyncio.sleep(0.05)
    store.fault = None
    history.looked([], {"a": 2.0}, {})
    async with asyncio.timeout(5):
        while old in store.added or not store.kept["gone"].resolved:
            await asyncio.sleep(0.005)
    assert [each.values for each in store.added] == [{"a": 2.0}]
    task.cancel()


async def test_samples_of_so_many_hours() -> None:
    store = MemoryOperations()
    history = History("here", store, now=lambda: THEN)
    for hours in (1, 3):
        await store.add(Sample("here", THEN - timedelta(hours=hours), {}))
    await store.add(Sample("there", THEN, {}))
    assert len(await history.samples(2)) == 2
    assert len(await history.samples(4, "here")) == 2
    for hours in (0, -1, 9000, float("nan")):
        with pytest.raises(InvalidRequest):
            await history.samples(hours)

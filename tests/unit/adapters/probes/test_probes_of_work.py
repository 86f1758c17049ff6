"""Probes of what the service does: models, decoders, the queue, failures, the stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.probes.artifacts import Artifacts
from orchestrator.adapters.probes.database import Database
from orchestrator.adapters.probes.decoders import Decoders
from orchestrator.adapters.probes.latency import Latency
from orchestrator.adapters.probes.pace import Rate, Seldom
from orchestrator.adapters.probes.sessions import Sessions
from orchestrator.adapters.probes.triton import AGAIN_SECONDS, Triton
from orchestrator.adapters.probes.work import Failures, Queue, QueueLimits
from orchestrator.core.health import Limits, Reading, Seen, Status, measured
from orchestrator.errors import NotFound, StoreUnavailable
from orchestrator.pipeline.operation_ports import Backlog, Ends, Probe, Standing
from orchestrator.pipeline.service import ServiceLimits
from tests.support.operations_store import THEN, MemoryOperations

QUICK = Limits(1, 2)


@dataclass
class Tick:
    """A clock that is moved by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


async def read(probe: Probe) -> dict[str, Reading]:
    return {reading.component: reading for reading in (await probe.look()).readings}


def statuses(readings: Mapping[str, Reading]) -> dict[str, str]:
    return {name: reading.status.name for name, reading in readings.items()}


# --- pace ---


def test_a_rate_is_what_came_within_its_time() -> None:
    clock = Tick()
    rate = Rate(60, clock)
    assert rate.see(5) == 0  # what was before nobody knows the time of
    clock.now += 30
    assert rate.see(8) == 3
    clock.now += 30
    assert rate.see(8) == 3
    clock.now += 29
    assert rate.see(9) == 4
    clock.now += 61
    assert rate.see(9) == 0


async def test_what_is_dear_is_looked_at_seldom_and_at_once_again_while_it_is_bad() -> None:
    clock, looks = Tick(), []

    class Dear:
        name = "dear"
        value = 0.0

        async def look(self) -> Seen:
            looks.append(clock.now)
            return Seen((measured("dear", self.value, "ratio", QUICK),))

    dear = Dear()
    probe = Seldom(dear, 60, clock)
    assert probe.name == "dear"
    for _ in range(20):
        await probe.look()
        clock.now += 5
    assert len(looks) == 2
    dear.value = 1.5
    clock.now += 60
    for _ in range(3):
        assert statuses(await read(probe)) == {"dear": "WARNING"}
    assert len(looks) == 5
    dear.value = 0.0
    for _ in range(3):
        assert statuses(await read(probe)) == {"dear": "HEALTHY"}
    assert len(looks) == 6


# --- triton ---


@dataclass
class Served:
    """An ``Observable``."""

    lives: bool = True
    models: dict[str, Standing] = field(default_factory=dict)
    wanted: list[str] = field(default_factory=list)

    async def live(self, seconds: float) -> bool:
        return self.lives

    def standings(self) -> Mapping[str, Standing]:
        return self.models

    def want_again(self, model: str) -> None:
        self.wanted.append(model)


async def test_triton_and_its_models() -> None:
    served = Served(models={"labels": Standing(True), "labels.2": Standing(False, loading=True)})
    probe = Triton(served, Limits(3, 10))
    seen = await probe.look()
    assert statuses({each.component: each for each in seen.readings}) == {
        "triton": "HEALTHY",
        "model/labels": "HEALTHY",
        "model/labels.2": "HEALTHY",
    }
    assert seen.values == {"triton_up": 1.0, "model_ready/labels": 1.0, "model_ready/labels.2": 0.0}
    served.lives, served.models["labels"] = False, Standing(False, why="it is loading")
    readings = await read(probe)
    assert statuses(readings)["triton"] == statuses(readings)["model/labels"] == "CRITICAL"
    assert readings["model/labels"].detail == "it is loading"
    assert served.wanted == []  # of a server that is away nothing is to be had
    del served.models["labels"]
    assert "model/labels" not in await read(probe)


async def test_a_model_that_could_not_be_loaded_is_tried_again() -> None:
    served, clock = Served(models={"labels": Standing(False, why="it cannot be loaded")}), Tick()
    probe = Triton(served, Limits(3, 10), clock)
    for _ in range(3):
        await probe.look()
    assert served.wanted == ["labels"]
    clock.now += AGAIN_SECONDS
    await probe.look()
    assert served.wanted == ["labels"] * 2


async def test_a_model_whose_processes_die_again_and_again() -> None:
    served, clock = Served(), Tick()
    probe = Triton(served, Limits(3, 10), clock)
    found = []
    for deaths in (5, 5, 7, 8, 8, 15, 15):
        served.models["labels"] = Standing(True, deaths=deaths)
        found.append((await read(probe))["model/labels"].status.name[0])
        clock.now += 5
    assert "".join(found) == "HHHWWCC"
    clock.now += 60
    assert (await read(probe))["model/labels"].status is Status.HEALTHY


# --- decoders ---


@dataclass
class Pool:
    """Decode workers."""

    alive: bool = True
    workers: int = 2
    crashes: int = 0
    starts: int = 0
    free: float = 0.25

    async def start(self) -> None:
        self.starts += 1


async def test_decoders_that_crash_and_a_fork_server_that_died() -> None:
    pool, clock = Pool(), Tick()
    probe = Decoders(pool, Limits(6, 20), clock=clock)
    seen = await probe.look()
    assert (seen.readings[0].status, seen.values) == (Status.HEALTHY, {"decoders": 2.0, "arena_free_ratio": 0.25})
    pool.crashes = 6
    assert statuses(await read(probe)) == {"decoders": "WARNING"}
    pool.crashes = 20
    assert statuses(await read(probe)) == {"decoders": "CRITICAL"}
    clock.now += 61
    assert statuses(await read(probe)) == {"decoders": "HEALTHY"}
    assert pool.starts == 0
    pool.alive = False
    assert statuses(await read(probe)) == {"decoders": "CRITICAL"}
    assert pool.starts == 1


# --- the stores ---


async def test_a_database_is_asked_and_its_trouble_passed_on() -> None:
    store = MemoryOperations()
    probe = Database(store, QUICK)
    assert statuses(await read(probe)) == {"database": "HEALTHY"}
    assert statuses(await read(Database(store, Limits(0, 100)))) == {"database": "WARNING"}
    store.fault = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await probe.look()


async def test_an_artifact_store_is_written_and_read_and_left_as_it_was(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    probe = Artifacts(blobs, QUICK, "here")
    assert statuses(await read(probe)) == {"artifacts": "HEALTHY"}
    assert [info async for info in blobs.list()] == []

    class Forgets(LocalBlobs):
        async def get(self, key: str) -> bytes:
            return b"something else"

    assert statuses(await read(Artifacts(Forgets(tmp_path / "blobs"), QUICK, "here"))) == {"artifacts": "CRITICAL"}

    class Loses(LocalBlobs):
        async def get(self, key: str) -> bytes:
            raise NotFound("no blob")

    with pytest.raises(NotFound):
        await Artifacts(Loses(tmp_path / "blobs"), QUICK, "here").look()
    assert [info async for info in blobs.list()] == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        await Artifacts(LocalBlobs(tmp_path / "file"), QUICK, "here").look()


# --- work ---


@dataclass
class Desk:
    """Places to work at."""

    running: int = 1
    places: int = 2
    accepting: bool = True
    resting: bool = False
    limits: ServiceLimits = field(default_factory=lambda: ServiceLimits(2, 32))


class Waiting(MemoryOperations):
    """A store with a backlog and with ends."""

    found = Backlog()
    ended = Ends()

    async def backlog(self) -> Backlog:
        return self.found

    async def ends(self, since: object) -> Ends:
        assert since == THEN - timedelta(hours=1)
        return self.ended


LIMITS = QueueLimits(Limits(10, 100), Limits(900, 3600))


@pytest.mark.parametrize(
    ("waiting", "minutes", "unended", "status", "unit"),
    [
        (0, 0, 0, "HEALTHY", "analyses"),
        (9, 14, 11, "HEALTHY", "analyses"),
        (10, 1, 12, "WARNING", "analyses"),
        (2, 15, 4, "WARNING", "seconds"),
        (11, 61, 13, "CRITICAL", "seconds"),
        (3, 1, 34, "CRITICAL", "analyses"),  # full, though little of it could run
        (100, 1, 33, "CRITICAL", "analyses"),
    ],
)
async def test_the_queue(waiting: int, minutes: int, unended: int, status: str, unit: str) -> None:
    store = Waiting()
    store.found = Backlog(waiting, THEN - timedelta(minutes=minutes) if waiting else None, unended)
    seen = await Queue(store, Desk(), LIMITS, now=lambda: THEN).look()
    [queue, workers] = seen.readings
    assert (queue.component, queue.status.name, queue.unit) == ("queue", status, unit)
    assert workers.status is Status.HEALTHY
    assert seen.values == {
        "queued": waiting,
        "oldest_queued_seconds": 60.0 * minutes if waiting else 0.0,
        "running": 1.0,
        "places": 2.0,
        "accepting": 1.0,
    }


@pytest.mark.parametrize(
    ("desk", "waiting", "status"),
    [
        (Desk(places=0), 1, "CRITICAL"),
        (Desk(places=0), 0, "HEALTHY"),
        (Desk(places=0, resting=True), 1, "HEALTHY"),
        (Desk(), 5, "HEALTHY"),
    ],
)
async def test_somebody_works_on_what_waits(desk: Desk, waiting: int, status: str) -> None:
    store = Waiting()
    store.found = Backlog(waiting, THEN, waiting)
    assert statuses(await read(Queue(store, desk, LIMITS, now=lambda: THEN)))["workers"] == status


@pytest.mark.parametrize(
    ("succeeded", "failed", "status"),
    [
        (0, {}, "HEALTHY"),
        (1, {"INTERNAL": 5}, "HEALTHY"),  # too few to judge
        (96, {"INTERNAL": 4}, "HEALTHY"),
        (95, {"INTERNAL": 5}, "WARNING"),
        (18, {"INTERNAL": 1, "MEDIA_UNREADABLE": 1}, "CRITICAL"),
    ],
)
async def test_failures_of_the_last_hour(succeeded: int, failed: dict[str, int], status: str) -> None:
    store = Waiting()
    store.ended = Ends(succeeded, failed)
    seen = await Failures(store, Limits(0.05, 0.1), 20, Limits(0.001, 0.01), now=lambda: THEN).look()
    assert [each.status.name for each in seen.readings] == [status, "HEALTHY"]
    count = sum(failed.values())
    assert seen.values == {"error_rate": count / (count + succeeded) if count else 0.0, "frames_lost_ratio": 0.0}
    if status != "HEALTHY":
        assert all(f"{number} {reason}" in seen.readings[0].detail for reason, number in failed.items())


@pytest.mark.parametrize(("dropped", "status"), [(0, "HEALTHY"), (1, "WARNING"), (10, "CRITICAL")])
async def test_frames_that_were_lost(dropped: int, status: str) -> None:
    store = Waiting()
    store.ended = Ends(1, {}, {"expected": 1000, "dropped": dropped})
    readings = await read(Failures(store, Limits(0.05, 0.1), 20, Limits(0.001, 0.01), now=lambda: THEN))
    assert (readings["frames"].status.name, readings["frames"].value) == (status, dropped / 1000)


@pytest.mark.parametrize(
    ("idle", "status", "stuck"),
    [
        ({}, "HEALTHY", 0),
        ({"a": 899.0}, "HEALTHY", 0),
        ({"a": 5.0, "b": 900.0}, "WARNING", 0),
        ({"a": 1800.0}, "CRITICAL", 1),
    ],
)
async def test_what_runs_gets_on(idle: dict[str, float], status: str, stuck: int) -> None:
    seen = await Sessions(lambda: idle, lambda: 1800.0).look()
    assert seen.readings[0].status.name == status
    assert seen.values == {"stuck": stuck, "longest_idle_seconds": max(idle.values(), default=0.0)}
    assert status == "HEALTHY" or max(idle, key=lambda name: idle[name]) in seen.readings[0].detail


@pytest.mark.parametrize(
    ("seconds", "calls", "status"),
    [(1.9, 20, "HEALTHY"), (2.0, 20, "WARNING"), (5.0, 20, "CRITICAL"), (9.0, 19, "HEALTHY")],
)
async def test_how_long_clients_wait(seconds: float, calls: int, status: str) -> None:
    seen = await Latency(lambda: (seconds, calls), Limits(2, 5)).look()
    assert (seen.readings[0].status.name, seen.values) == (status, {"latency_p95_seconds": seconds})

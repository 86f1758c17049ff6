"""What goes on beside the steps: restarts, other servers, versions that cannot be loaded, and versions that go bad."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.rollouts import SqlRollouts
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.core.rollout import Action, Hit, Rail, Rollout
from orchestrator.errors import InferenceUnavailable, RolloutStepRefused, StoreUnavailable, VersionRejected
from orchestrator.pipeline.convergence import Keeper, Pace
from orchestrator.pipeline.rollouts import RolloutService
from tests.support.model_server import FakeModelServer
from tests.support.services import until

BY: dict[str, str] = {"who": "somebody@somewhere", "why": "to see"}
TORN = Hit(Rail.FILES, "model.onnx is not what was exported")
QUICK = Pace(every_s=0.01, judge_s=0.01, longest_s=0.02)
GOES_BAD: dict[Rail, dict[str, float]] = {
    Rail.ERRORS: {"failures": 900},
    Rail.LATENCY: {"p95_s": 9.0},
    Rail.MEMORY: {"resident_bytes": 4 << 30},
    Rail.AGREEMENT: {"disagreed": 400},
}


@dataclass
class Clock:
    """A clock that the test sets."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Process:
    """A server: another one over the same store is another process, or the same one after a restart."""

    store: SqlRollouts
    server: FakeModelServer = field(default_factory=FakeModelServer)
    clock: Clock = field(default_factory=Clock)
    pace: Pace = QUICK

    def __post_init__(self) -> None:
        self.service = RolloutService(self.server, self.store, clock=self.clock)
        self.keeper = Keeper(self.service, pace=self.pace)

    async def promoted(self) -> None:
        """With version 2 of labels stable, version 1 behind it."""
        await self.service.stage("labels", 2, **BY)
        await self.service.promote("labels", **BY)
        await self.keeper.converge()

    def possible(self, version: int) -> list[Callable[[], Awaitable[object]]]:
        """Everything that may be done."""
        service = self.service
        return [
            lambda: service.stage("labels", version, **BY),
            lambda: service.shadow("labels", 0.5, **BY),
            lambda: service.canary("labels", 0.5, **BY),
            lambda: service.promote("labels", **BY),
            lambda: service.rollback("labels", **BY),
            lambda: service.retire("labels", version, **BY),
            lambda: service.turn_away("labels", version, TORN),
            self.keeper.converge,
        ]

    async def newest(self) -> Any:
        return (await self.service.history("labels"))[0]


@pytest.fixture
async def analyses(sqlite_dir: Path) -> AsyncIterator[SqlAnalysisStore]:
    async with open_store(sqlite_dir) as opened:
        yield opened
        assert [finding for finding in await opened.run(audit) if finding.count] == []


@pytest.fixture
def store(analyses: SqlAnalysisStore) -> SqlRollouts:
    return SqlRollouts(analyses.database)


@pytest.fixture
def here(store: SqlRollouts) -> Process:
    return Process(store)


async def test_after_a_restart_what_was_wanted_is_there_again(here: Process, store: SqlRollouts) -> None:
    await here.promoted()
    await here.service.stage("labels", 3, **BY)
    await here.service.canary("labels", 1.0, **BY)
    again = Process(store)
    await again.keeper.start()
    # Analyses may begin: they are answered as the store says, but by no candidate that is not loaded yet.
    assert again.server.version_for("labels", "anybody") == 2
    assert again.server.loaded == set()
    assert await again.keeper.converge()
    assert again.server.loaded == {("labels", 1), ("labels", 2), ("labels", 3)}
    assert again.server.version_for("labels", "anybody") == 3
    assert (await again.newest()).action is Action.CANARY  # nothing was added to the history for it


async def test_what_is_not_wanted_any_more_goes(here: Process) -> None:
    await here.service.stage("labels", 2, **BY)
    await here.service.rollback("labels", **BY)
    assert ("labels", 2) in here.server.loaded
    await here.keeper.converge()
    assert here.server.loaded == {("labels", 1)}


async def test_a_step_of_another_server_is_loaded_before_anybody_is_directed_to_it(
    here: Process, store: SqlRollouts
) -> None:
    other = Process(store)
    await here.keeper.converge()
    await other.promoted()
    await here.keeper.converge()
    assert here.server.version_for("labels", "anybody") == 2
    assert here.server.early == set()
    await other.service.rollback("labels", **BY)
    await here.keeper.converge()
    assert here.server.version_for("labels", "anybody") == 1


async def test_a_way_back_does_not_wait_for_an_examination(here: Process, store: SqlRollouts) -> None:
    await here.service.stage("labels", 2, **BY)
    await here.service.canary("labels", 1.0, **BY)
    await here.keeper.converge()
    here.server.gate = asyncio.Event()
    staging = asyncio.create_task(here.service.stage("shots", 2, **BY))
    await until(lambda: "examine shots 2" in here.server.calls)
    await Process(store).service.rollback("labels", **BY)
    round_ = asyncio.create_task(here.keeper.converge())
    await until(lambda: here.server.version_for("labels", "anybody") == 1)
    assert not staging.done()
    here.server.gate.set()
    await asyncio.gather(staging, round_)


async def test_a_candidate_that_cannot_be_loaded_is_rolled_back(here: Process, store: SqlRollouts) -> None:
    await here.service.stage("labels", 2, **BY)
    await here.service.canary("labels", 1.0, **BY)
    again = Process(store)
    again.server.unloadable["labels", 2] = TORN
    assert not await again.keeper.converge()
    step = await again.newest()
    assert (step.action, step.version, step.automatic, step.rail) == (Action.ROLLBACK, 2, True, Rail.FILES)
    assert step.detail == TORN.detail
    assert again.server.version_for("labels", "anybody") == 1
    assert await again.keeper.converge()


async def test_a_stable_version_that_cannot_be_loaded_is_never_swapped(here: Process, store: SqlRollouts) -> None:
    await here.promoted()
    again = Process(store)
    again.server.unloadable["labels", 2] = TORN
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert not await again.keeper.converge()
    told = [line for line in logs if line["log_level"] == "error"]
    assert [(line["event"], line["version"], line["detail"]) for line in told] == [("rollout.unfit", 2, TORN.detail)]
    assert again.server.version_for("labels", "anybody") == 2
    assert len(await store.history("labels")) == 2
    again.server.unloadable.clear()
    assert await again.keeper.converge()
    assert ("labels", 2) in again.server.loaded


async def test_while_triton_is_away_nothing_is_rolled_back(here: Process, store: SqlRollouts) -> None:
    await here.service.stage("labels", 2, **BY)
    again = Process(store)
    again.server.down = True
    with pytest.raises(InferenceUnavailable):
        await again.keeper.converge()
    assert len(await store.history("labels")) == 1


# --- judging -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rail", GOES_BAD)
async def test_a_canary_that_goes_bad_is_rolled_back_by_itself(here: Process, rail: Rail) -> None:
    await here.service.stage("labels", 2, **BY)
    await here.service.canary("labels", 1.0, **BY)
    here.server.goes_bad("labels", 2)
    await here.keeper.judge()
    assert here.server.version_for("labels", "anybody") == 2  # it is well
    here.server.goes_bad("labels", 2, **GOES_BAD[rail])
    await here.keeper.judge()
    step = await here.newest()
    assert (step.action, step.version, step.automatic, step.rail) == (Action.ROLLBACK, 2, True, rail)
    assert step.evidence["requests"] == 1000.0
    assert here.server.version_for("labels", "anybody") == 1
    await here.keeper.judge()
    assert (await here.newest()) == step


async def test_another_servers_canary_is_judged_here_too(here: Process, store: SqlRollouts) -> None:
    other = Process(store)
    await other.service.stage("labels", 2, **BY)
    await other.service.canary("labels", 0.5, **BY)
    await here.keeper.converge()
    here.server.goes_bad("labels", 2, failures=900)
    await here.keeper.judge()
    assert (await here.newest()).rail is Rail.ERRORS


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_promoted_version_is_watched_for_a_while(here: Process, store: SqlRollouts, restarted: bool) -> None:
    await here.promoted()
    here.clock.sleep(500)
    process = Process(store, clock=here.clock) if restarted else here
    await process.keeper.converge()
    process.server.goes_bad("labels", 2, failures=900)
    await process.keeper.judge()
    step = await process.newest()
    assert (step.action, step.version, step.stable, step.rail) == (Action.ROLLBACK, 2, 1, Rail.ERRORS)
    assert process.server.version_for("labels", "anybody") == 1


@pytest.mark.parametrize("restarted", [False, True])
async def test_and_not_for_longer(here: Process, store: SqlRollouts, restarted: bool) -> None:
    await here.promoted()
    here.clock.sleep(601)
    process = Process(store, clock=here.clock) if restarted else here
    await process.keeper.converge()
    process.server.goes_bad("labels", 2, failures=900)
    await process.keeper.judge()
    assert (await process.newest()).action is Action.PROMOTE


async def test_nor_when_the_promotion_is_beyond_what_the_history_tells(here: Process) -> None:
    await here.promoted()
    here.server.unfit["labels", 3] = TORN
    for _ in range(101):
        with pytest.raises(VersionRejected):
            await here.service.stage("labels", 3, **BY)
    await here.keeper.converge()
    here.server.goes_bad("labels", 2, failures=900)
    await here.keeper.judge()
    assert (await here.newest()).action is Action.STAGE


async def test_promoted_again_it_is_watched_again(here: Process) -> None:
    await here.promoted()
    here.clock.sleep(590)
    await here.service.rollback("labels", **BY)
    await here.promoted()
    here.clock.sleep(20)
    here.server.goes_bad("labels", 2, failures=900)
    await here.keeper.judge()
    assert (await here.newest()).rail is Rail.ERRORS


async def test_there_is_no_way_back_to_a_version_that_is_not_there(here: Process) -> None:
    await here.promoted()
    here.server.unloadable["labels", 1] = TORN
    await here.keeper.converge()
    here.server.goes_bad("labels", 2, failures=900)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await here.keeper.judge()
            await here.keeper.converge()
    assert [line["rail"] for line in logs if line["event"] == "rollout.unfit"] == ["ERRORS"]
    assert (await here.newest()).action is Action.PROMOTE
    assert here.server.version_for("labels", "anybody") == 2


async def test_a_promoted_version_goes_although_the_next_one_is_on_trial(here: Process, store: SqlRollouts) -> None:
    await here.promoted()
    await here.service.stage("labels", 3, **BY)
    await here.keeper.converge()
    here.server.goes_bad("labels", 2, failures=900)
    await here.keeper.judge()
    state = (await store.rollouts())["labels"]
    assert (state.stable, state.candidate and state.candidate.version, state.previous) == (1, 3, None)


# --- for ever ----------------------------------------------------------------------------------------------------------


async def test_by_itself(here: Process, store: SqlRollouts) -> None:
    """With the loops running: a step elsewhere, a Triton that goes away, a fault of ours, and a canary that goes bad."""
    running = asyncio.create_task(here.keeper.run())
    await Process(store).service.stage("labels", 2, **BY)
    await until(lambda: ("labels", 2) in here.server.loaded)
    here.server.down = True
    await asyncio.sleep(0.05)
    here.server.down = False
    here.server.loaded.clear()
    await until(lambda: ("labels", 2) in here.server.loaded)
    good, here.server.measured = here.server.measured, lambda *_: 1 // 0  # type: ignore[method-assign,assignment]
    await asyncio.sleep(0.05)
    here.server.measured = good  # type: ignore[method-assign]
    await here.service.canary("labels", 1.0, **BY)
    here.server.goes_bad("labels", 2, p95_s=9.0)
    await until(lambda: here.server.loaded == {("labels", 1)})
    assert here.server.version_for("labels", "anybody") == 1
    assert (await here.newest()).rail is Rail.LATENCY
    assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_step_is_acted_on_at_once(store: SqlRollouts) -> None:
    here = Process(store, pace=Pace(every_s=60, judge_s=60))
    running = asyncio.create_task(here.keeper.run())
    await until(lambda: "hold" in here.server.calls)
    await here.service.stage("labels", 2, **BY)
    await here.service.rollback("labels", **BY)
    await until(lambda: here.server.loaded == {("labels", 1)})  # long before the minute is over
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_triton_of_others_is_left_alone(store: SqlRollouts) -> None:
    here = Process(store, FakeModelServer(managed=False))
    await here.keeper.start()
    await here.keeper.run()
    assert here.server.calls == []


async def test_a_store_that_is_away_is_waited_for(
    here: Process, store: SqlRollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Process(store).service.stage("labels", 2, **BY)

    async def away() -> dict[str, Rollout]:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(store, "rollouts", away)
    running = asyncio.create_task(here.keeper.run())
    await asyncio.sleep(0.05)
    assert here.server.calls == []
    monkeypatch.undo()
    await until(lambda: ("labels", 2) in here.server.loaded)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_done_at_once_everybody_ends_where_the_store_is(store_target: str | Path, seed: int) -> None:
    """Three servers, steps from all sides, versions that hit rails, and rounds in between."""
    async with open_store(store_target) as opened:
        await _at_once(SqlRollouts(opened.database), random.Random(seed))
        assert [finding for finding in await opened.run(audit) if finding.count] == []


async def _at_once(store: SqlRollouts, dice: random.Random) -> None:
    processes = [Process(store) for _ in range(3)]
    for process in processes:
        process.server.unfit["labels", 3] = TORN

    async def somebody(process: Process, dice: random.Random) -> None:
        for _ in range(25):
            with suppress(RolloutStepRefused, VersionRejected):
                await dice.choice(process.possible(dice.choice((1, 2, 3))))()

    await asyncio.gather(*(somebody(process, random.Random(dice.random())) for process in processes))
    wanted = (await store.rollouts())["labels"]
    assert len(await store.history("labels", 10_000)) == wanted.revision
    for process in processes:
        await process.keeper.converge()
        assert process.server.directed["labels"] == wanted
        assert process.server.loaded == {("labels", version) for version in wanted.wanted}

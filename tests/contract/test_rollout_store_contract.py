"""What a rollout store promises, whatever the database."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.rollouts import SqlRollouts
from orchestrator.adapters.stores.sql import open_store
from orchestrator.core.rollout import Action, Rail, Rollout, Stage
from orchestrator.pipeline.model_ports import RolloutStore
from tests.support.model_server import MemoryRollouts
from tests.support.rollouts import ROLLOUT, THEN, roll_out, step_to

FRESH = Rollout("labels", 1)


@asynccontextmanager
async def audited(target: str | Path) -> AsyncIterator[SqlRollouts]:
    async with open_store(target) as opened:
        yield SqlRollouts(opened.database)
        assert [finding for finding in await opened.run(audit) if finding.count] == []


@pytest.fixture
async def sql(store_target: str | Path) -> AsyncIterator[SqlRollouts]:
    async with audited(store_target) as opened:
        yield opened


@pytest.fixture(params=["sqlite_dir", "postgres_url", ""])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[RolloutStore]:
    """Every implementation, that of the tests included."""
    if not request.param:
        yield MemoryRollouts()
        return
    async with audited(request.getfixturevalue(request.param)) as opened:
        yield opened


async def test_nothing_before_the_first_step(store: RolloutStore) -> None:
    assert await store.rollouts() == {}
    assert await store.history("labels") == []


async def test_what_a_step_committed_is_read_back(store: RolloutStore) -> None:
    for state in ROLLOUT:
        assert await store.step(state, step_to(state))
        assert await store.rollouts() == {"labels": state}
    history = await store.history("labels")
    assert history == [step_to(state) for state in reversed(ROLLOUT)]
    assert await store.history("labels", 2) == history[:2]
    assert await store.history("labels", 2, before=history[1].revision) == history[2:4]
    assert await store.history("labels", before=1) == []


async def test_everything_of_a_step_is_kept(store: RolloutStore) -> None:
    staged = FRESH.staged(2)
    state = staged.tried(Stage.CANARY, 0.1).rolled_back()
    step = step_to(
        replace(state, revision=2),
        Action.ROLLBACK,
        version=2,
        at=THEN + timedelta(microseconds=123456),
        who="käthe@host",
        why="quotes ' \" and\nlines",
        share=1 / 3,
        automatic=True,
        rail=Rail.LATENCY,
        detail="too slow",
        evidence={"p95_s": 0.1 + 0.2, "requests": 7, "host": "null"},
    )
    await roll_out(store, [staged])
    assert await store.step(replace(state, revision=2), step)
    assert await store.history("labels", 1) == [step]


async def test_numbers_that_json_does_not_know_become_words(sql: SqlRollouts) -> None:
    state = FRESH.refused()
    evidence = {"error": math.nan, "limit": math.inf, "fine": 1.5}
    assert await sql.step(state, step_to(state, rail=Rail.PARITY, evidence=evidence))
    assert (await sql.history("labels"))[0].evidence == {"error": "nan", "limit": "inf", "fine": 1.5}


async def test_a_state_of_another_revision_changes_nothing(store: RolloutStore) -> None:
    first, second, third, *_ = ROLLOUT
    assert not await store.step(second, step_to(second))  # the first is missing
    assert await store.step(first, step_to(first))
    other = FRESH.staged(9)
    assert not await store.step(other, step_to(other))  # somebody was faster
    assert not await store.step(third, step_to(third))
    assert await store.step(second, step_to(second))
    assert not await store.step(second, step_to(second))
    assert await store.rollouts() == {"labels": second}
    assert await store.history("labels") == [step_to(second), step_to(first)]


async def test_models_do_not_meet(store: RolloutStore) -> None:
    mine, other = Rollout("labels", 1).staged(2), Rollout("shots", 3).staged(4)
    assert await store.step(mine, step_to(mine))
    assert await store.step(other, step_to(other))
    assert await store.rollouts() == {"labels": mine, "shots": other}
    assert await store.history("shots") == [step_to(other)]


@pytest.mark.parametrize("revision", [1, 3])
async def test_of_many_at_once_one_wins(store_target: str | Path, revision: int) -> None:
    """From several servers, where the database is shared."""
    before = ROLLOUT[revision - 2] if revision > 1 else FRESH
    states = [replace(before.refused(), previous=10 + number) for number in range(12)]
    async with AsyncExitStack() as stack:
        servers = 4 if isinstance(store_target, str) else 1
        stores = [await stack.enter_async_context(audited(store_target)) for _ in range(servers)]
        await roll_out(stores[0], ROLLOUT[: revision - 1])
        tries = [stores[number % servers].step(state, step_to(state)) for number, state in enumerate(states)]
        won = await asyncio.gather(*tries)
        assert won.count(True) == 1
        assert await stores[-1].rollouts() == {"labels": states[won.index(True)]}
        assert len(await stores[-1].history("labels")) == revision


async def test_a_step_that_leads_elsewhere_is_a_mistake(sql: SqlRollouts) -> None:
    state = ROLLOUT[0]
    for changes in ({"revision": 2}, {"model": "shots"}, {"stable": 7}):
        with pytest.raises(ValueError, match="its own state"):
            await sql.step(state, replace(step_to(state), **changes))  # type: ignore[arg-type]
    assert await sql.rollouts() == {}


async def test_it_is_there_after_the_store_was_closed(store_target: str | Path) -> None:
    async with open_store(store_target) as opened:
        await roll_out(SqlRollouts(opened.database), ROLLOUT)
    async with open_store(store_target) as opened:
        assert await SqlRollouts(opened.database).rollouts() == {"labels": ROLLOUT[-1]}
        assert len(await SqlRollouts(opened.database).history("labels")) == len(ROLLOUT)

"""Steps of a rollout, as somebody asks for them: committed, recorded, directed; or refused, and nothing has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.stores.rollouts import SqlRollouts
from orchestrator.adapters.stores.sql import open_store
from orchestrator.core.rollout import Action, Candidate, Hit, Rail, Role, Rollout, Stage, Step
from orchestrator.errors import (
    InferenceUnavailable,
    InvalidRequest,
    NotFound,
    NotManaged,
    RolloutStepRefused,
    StoreUnavailable,
    VersionRejected,
)
from orchestrator.pipeline.rollouts import GONE, RolloutService
from tests.support.model_server import FakeModelServer, digest_of
from tests.support.rollouts import ROLLOUT, step_to

BY: dict[str, str] = {"who": "somebody@somewhere", "why": "to see"}
WRONG = Hit(Rail.PARITY, "scores differ by 0.4, tolerated is 0.001", {"scores": 0.4})
TORN = Hit(Rail.FILES, "model.onnx is not what was exported")


@pytest.fixture
async def store(sqlite_dir: Path) -> AsyncIterator[SqlRollouts]:
    async with open_store(sqlite_dir) as opened:
        yield SqlRollouts(opened.database)


@pytest.fixture
def server() -> FakeModelServer:
    return FakeModelServer()


@pytest.fixture
def service(server: FakeModelServer, store: SqlRollouts) -> RolloutService:
    return RolloutService(server, store)


def facts(step: Step) -> tuple[Any, ...]:
    return step.action, step.version, step.stable, step.share, step.automatic, step.rail


async def test_the_whole_way(service: RolloutService, server: FakeModelServer, store: SqlRollouts) -> None:
    before = await service.model("labels")
    assert [(each.info.version, each.role) for each in before.versions] == [
        (1, Role.STABLE),
        (2, Role.AVAILABLE),
        (3, Role.AVAILABLE),
    ]
    staged = await service.stage("labels", 2, **BY)
    assert (staged.revision, staged.versions[1].role, staged.versions[1].stage) == (1, Role.CANDIDATE, Stage.STAGED)
    assert (
        server.directed["labels"] == (await store.rollouts())["labels"] == Rollout("labels", 1, Candidate(2), None, 1)
    )
    await service.shadow("labels", 0.5, **BY)
    canary = await service.canary("labels", 0.25, version=2, **BY)
    assert (canary.versions[1].stage, canary.versions[1].share) == (Stage.CANARY, 0.25)
    heard = sum(server.version_for("labels", str(key)) == 2 for key in range(1000))
    assert 200 < heard < 300
    promoted = await service.promote("labels", **BY)
    assert [each.role for each in promoted.versions] == [Role.PREVIOUS, Role.STABLE, Role.AVAILABLE]
    assert {server.version_for("labels", str(key)) for key in range(100)} == {2}
    back = await service.rollback("labels", **BY)
    assert [each.role for each in back.versions] == [Role.STABLE, Role.AVAILABLE, Role.AVAILABLE]
    assert {server.version_for("labels", str(key)) for key in range(100)} == {1}
    history = await service.history("labels")
    assert [facts(step) for step in reversed(history)] == [
        (Action.STAGE, 2, 1, 0.0, False, None),
        (Action.SHADOW, 2, 1, 0.5, False, None),
        (Action.CANARY, 2, 1, 0.25, False, None),
        (Action.PROMOTE, 2, 2, 0.0, False, None),
        (Action.ROLLBACK, 2, 1, 0.0, False, None),
    ]
    assert {(step.who, step.why) for step in history} == {("somebody@somewhere", "to see")}
    assert history[-1].evidence == {"scores": 0.001}
    assert len(await service.history("labels", 2)) == 2


async def test_since_when_and_what_of(service: RolloutService, server: FakeModelServer) -> None:
    await service.stage("labels", 2, **BY)
    await service.promote("labels", **BY)
    server.goes_bad("labels", 2, requests=77)
    first, second, third = (await service.model("labels")).versions
    step = (await service.history("labels"))[0]
    assert (first.since, second.since, third.since) == (step.at, step.at, None)
    assert (second.measured.requests, second.analyses, third.analyses) == (77, 1, 0)
    assert second.info.digest == digest_of("labels", 2)


async def test_retire_lets_the_way_back_go(service: RolloutService) -> None:
    await service.stage("labels", 2, **BY)
    await service.promote("labels", **BY)
    retired = await service.retire("labels", 1, **BY)
    assert [each.role for each in retired.versions] == [Role.AVAILABLE, Role.STABLE, Role.AVAILABLE]
    with pytest.raises(RolloutStepRefused, match="no earlier version"):
        await service.rollback("labels", **BY)


@pytest.mark.parametrize("hit", [WRONG, TORN])
async def test_a_version_that_hits_a_rail_is_refused_and_recorded(
    service: RolloutService, server: FakeModelServer, hit: Hit
) -> None:
    server.unfit["labels", 2] = hit
    with pytest.raises(VersionRejected, match=hit.detail) as caught:
        await service.stage("labels", 2, **BY)
    assert caught.value.detail == {"model": "labels", "version": "2", "rail": hit.rail.value}
    after = await service.model("labels")
    assert (after.revision, after.versions[1].role) == (1, Role.AVAILABLE)
    (step,) = await service.history("labels")
    assert facts(step) == (Action.STAGE, 2, 1, 0.0, False, hit.rail)
    assert (step.detail, step.evidence, step.who) == (hit.detail, hit.evidence, "somebody@somewhere")
    assert ("labels", 2) not in server.loaded
    server.unfit.clear()
    assert (await service.stage("labels", 2, **BY)).revision == 2  # mended, it may come again


async def test_what_the_state_does_not_allow(service: RolloutService, server: FakeModelServer) -> None:
    for step in (
        service.shadow("labels", 0.1, **BY),
        service.canary("labels", 0.1, **BY),
        service.promote("labels", **BY),
        service.rollback("labels", **BY),
        service.retire("labels", 1, **BY),
        service.stage("labels", 1, **BY),
    ):
        with pytest.raises(RolloutStepRefused) as caught:
            await step
        assert caught.value.detail == {"model": "labels"}
    assert server.calls == []  # nothing was examined for it
    assert await service.history("labels") == []


@pytest.mark.parametrize("share", [0.0, -1.0, 1.01, float("nan")])
async def test_a_share_that_is_none(service: RolloutService, share: float) -> None:
    await service.stage("labels", 2, **BY)
    for step in (service.shadow("labels", share, **BY), service.canary("labels", share, **BY)):
        with pytest.raises(InvalidRequest, match="share"):
            await step
    assert (await service.model("labels")).revision == 1


async def test_a_step_means_the_version_that_it_names(service: RolloutService) -> None:
    await service.stage("labels", 2, **BY)
    for step in (
        service.canary("labels", 0.5, version=3, **BY),
        service.promote("labels", version=3, **BY),
        service.rollback("labels", version=3, **BY),
    ):
        with pytest.raises(RolloutStepRefused, match="version 3"):
            await step
    assert (await service.promote("labels", version=2, **BY)).revision == 2


async def test_what_there_is_not(service: RolloutService) -> None:
    with pytest.raises(NotFound):
        await service.stage("labels", 9, **BY)
    for question in (
        service.stage("nothing", 2, **BY),
        service.promote("nothing", **BY),
        service.history("nothing"),
        service.model("nothing"),
    ):
        with pytest.raises(NotFound):
            await question


async def test_the_models_of_a_triton_of_others(service: RolloutService, server: FakeModelServer) -> None:
    server.managed = False
    assert [state.model for state in await service.models()] == ["labels", "shots"]
    for step in (service.stage("labels", 2, **BY), service.rollback("labels", **BY)):
        with pytest.raises(NotManaged):
            await step


async def test_what_the_store_wants_and_the_repository_lost(
    service: RolloutService, server: FakeModelServer, store: SqlRollouts
) -> None:
    await service.stage("labels", 2, **BY)
    await service.promote("labels", **BY)
    del server.repository["labels"][1]
    (first, second, _) = (await service.model("labels")).versions
    assert (first.info.defect, second.info.defect, second.role) == ("", GONE, Role.STABLE)
    server.repository.pop("labels")
    assert [state.model for state in await service.models()] == ["labels", "shots"]


async def test_nothing_is_directed_that_was_not_committed(
    service: RolloutService, server: FakeModelServer, store: SqlRollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.stage("labels", 2, **BY)
    directed = server.directed

    async def away(*_: object) -> bool:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(store, "step", away)
    with pytest.raises(StoreUnavailable):
        await service.promote("labels", **BY)
    assert server.directed is directed


async def test_nobody_is_directed_to_a_version_that_is_not_loaded(service: RolloutService, store: SqlRollouts) -> None:
    await service.stage("labels", 2, **BY)
    server = FakeModelServer(unloadable={("labels", 2): TORN})
    again = RolloutService(server, store)  # another process, before its first round
    for step in (again.promote("labels", **BY), again.canary("labels", 0.1, **BY)):
        with pytest.raises(InferenceUnavailable, match="cannot be loaded"):
            await step
    server.unloadable.clear()
    assert (await again.promote("labels", **BY)).revision == 2
    assert server.loaded == {("labels", 1), ("labels", 2)}


async def test_a_trial_can_always_be_ended(service: RolloutService, store: SqlRollouts) -> None:
    await service.stage("labels", 2, **BY)
    again = RolloutService(FakeModelServer(down=True), store)
    assert (await again.rollback("labels", **BY)).revision == 2


async def test_of_two_that_are_faster_than_each_other_one_is_refused(
    service: RolloutService, server: FakeModelServer, store: SqlRollouts
) -> None:
    other = RolloutService(server, store)
    server.gate = asyncio.Event()
    staging = asyncio.create_task(service.stage("labels", 2, **BY))
    while "examine labels 2" not in server.calls:
        await asyncio.sleep(0)
    state = Rollout("labels", 1).staged(3)
    await store.step(state, step_to(state))
    server.gate.set()
    with pytest.raises(RolloutStepRefused, match="version 3 of labels is on trial"):
        await staging
    assert service.served.changed.is_set()  # what was loaded for nothing goes in the next round
    assert (await other.model("labels")).revision == 1


async def test_a_way_back_that_comes_behind_an_automatic_one_goes_no_further(
    service: RolloutService, store: SqlRollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.stage("labels", 2, **BY)
    await service.promote("labels", **BY)
    await service.stage("labels", 3, **BY)
    commit = store.step

    async def slow(state: Rollout, step: Step) -> bool:
        monkeypatch.undo()
        await service.turn_away("labels", 3, WRONG)  # a rail is faster
        return await commit(state, step)

    monkeypatch.setattr(store, "step", slow)
    with pytest.raises(RolloutStepRefused, match="version 3 of labels is in question no more, but version 2"):
        await service.rollback("labels", **BY)
    state = (await store.rollouts())["labels"]
    assert (state.stable, state.candidate, state.previous) == (2, None, 1)


async def test_steps_at_once_are_all_told_in_one_order(service: RolloutService, store: SqlRollouts) -> None:
    await service.stage("labels", 2, **BY)
    shares = [number / 20 for number in range(1, 21)]
    await asyncio.gather(*(service.canary("labels", share, **BY) for share in shares))
    history = await service.history("labels")
    assert [step.revision for step in history] == list(range(21, 0, -1))
    assert sorted(step.share for step in history[:-1]) == shares
    assert (await store.rollouts())["labels"].candidate == Candidate(2, Stage.CANARY, history[0].share)


async def test_a_rail_turns_the_candidate_away(service: RolloutService, server: FakeModelServer) -> None:
    await service.stage("labels", 2, **BY)
    await service.canary("labels", 1.0, **BY)
    hit = Hit(Rail.LATENCY, "too slow", {"p95_s": 9.0})
    await service.turn_away("labels", 2, hit)
    step = (await service.history("labels"))[0]
    assert facts(step) == (Action.ROLLBACK, 2, 1, 0.0, True, Rail.LATENCY)
    assert (step.detail, step.evidence) == ("too slow", {"p95_s": 9.0})
    assert step.who.startswith("reelsift@")
    assert server.version_for("labels", "anybody") == 1
    await service.turn_away("labels", 2, hit)  # too late: nothing happens
    assert len(await service.history("labels")) == 3


def test_an_older_state_does_not_replace_a_newer_one(server: FakeModelServer, service: RolloutService) -> None:
    for version in (2, 3):
        service.served.holds("labels", version)
    service.served.direct({"labels": ROLLOUT[2]})
    service.served.direct({"labels": ROLLOUT[1]})
    assert server.directed == {"labels": ROLLOUT[2]}
    service.served.direct({"shots": Rollout("shots", 1, None, None, 3)})
    assert set(server.directed) == {"labels", "shots"}

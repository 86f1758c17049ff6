"""ModelService through the client, over a real gRPC server."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from orchestrator.api import messages as pb
from orchestrator.api.client import ClientError
from orchestrator.core.rollout import Hit, Rail

BY = {"who": "somebody@somewhere", "why": "to see"}


def states(model: pb.Model) -> list[str]:
    return [pb.VersionState.Name(each.state).removeprefix("VERSION_STATE_") for each in model.versions]


async def test_the_whole_way(run, fake) -> None:
    async with run(fake()) as running:
        models = running.client.models
        assert [each.model for each in await models.list()] == ["labels", "shots"]
        staged = await models.stage("labels", 2, **BY)
        assert (staged.revision, states(staged)) == (1, ["STABLE", "CANDIDATE", "AVAILABLE"])
        assert staged.versions[1].HasField("since")
        assert not staged.versions[0].HasField("since")
        assert (await models.shadow("labels", 0.5, **BY)).versions[1].stage == pb.RolloutStage.ROLLOUT_STAGE_SHADOW
        canary = await models.canary("labels", 0.25, version=2, **BY)
        assert (canary.versions[1].stage, canary.versions[1].share) == (pb.RolloutStage.ROLLOUT_STAGE_CANARY, 0.25)
        running.models.goes_bad("labels", 2, requests=77, failures=1, p95_s=0.5, disagreed=3)
        traffic = (await models.get("labels")).versions[1].traffic
        assert (traffic.request_count, traffic.failure_count, traffic.p95_seconds) == (77, 1, 0.5)
        assert (traffic.compared_count, traffic.disagreed_count, traffic.analysis_count) == (500, 3, 1)
        assert states(await models.promote("labels", **BY)) == ["PREVIOUS", "STABLE", "AVAILABLE"]
        assert states(await models.rollback("labels", version=2, **BY)) == ["STABLE", "AVAILABLE", "AVAILABLE"]
        await models.stage("labels", 3, who="somebody")
        await models.promote("labels", who="somebody")
        assert states(await models.retire("labels", 1, who="somebody")) == ["AVAILABLE", "AVAILABLE", "STABLE"]
        steps = [step async for step in models.steps("labels", page_size=3)]
        assert [step.revision for step in steps] == [8, 7, 6, 5, 4, 3, 2, 1]
        assert [step.stable_version for step in steps] == [3, 3, 1, 1, 2, 1, 1, 1]


async def test_a_version_that_hits_a_rail(run, fake) -> None:
    async with run(fake()) as running:
        running.models.unfit["labels", 2] = Hit(Rail.LOAD, "no such operator")
        with pytest.raises(ClientError, match="no such operator") as caught:
            await running.client.models.stage("labels", 2, **BY)
        assert (caught.value.reason, caught.value.grpc_code) == ("VERSION_REJECTED", "FAILED_PRECONDITION")
        assert caught.value.detail == {"model": "labels", "version": "2", "rail": "LOAD"}


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda models: models.promote("labels", **BY), "ROLLOUT_STEP_REFUSED"),
        (lambda models: models.canary("labels", 2.0, **BY), "ROLLOUT_STEP_REFUSED"),
        (lambda models: models.stage("nothing", 2, **BY), "NOT_FOUND"),
        (lambda models: models.get("a/b"), "NOT_FOUND"),
        (lambda models: models.stage("labels", 2, who=""), "INVALID_REQUEST"),
        (lambda models: models.stage("labels", 0, **BY), "INVALID_REQUEST"),
    ],
)
async def test_refusals(run, fake, step, reason: str) -> None:
    async with run(fake()) as running:
        with pytest.raises(ClientError) as caught:
            await step(running.client.models)
        assert caught.value.reason == reason


async def test_a_share_that_is_none(run, fake) -> None:
    async with run(fake()) as running:
        await running.client.models.stage("labels", 2, **BY)
        for share in (0.0, 1.5, float("nan")):
            with pytest.raises(ClientError) as caught:
                await running.client.models.canary("labels", share, **BY)
            assert caught.value.reason == "INVALID_REQUEST"


async def test_a_step_whose_answer_is_lost_is_not_taken_twice(run, fake) -> None:
    async with run(fake()) as running:
        models = running.client.models
        await models.stage("labels", 2, **BY)
        await models.promote("labels", **BY)
        await models.stage("labels", 3, **BY)
        good = running.rollouts.model

        stopping = []

        async def lost(model: str) -> object:
            stopping.append(asyncio.ensure_future(running.stop()))  # not in here: it ends what is in here
            return await asyncio.Event().wait()

        running.rollouts.model = lost
        with pytest.raises(ClientError):
            await models.rollback("labels", **BY)
        running.rollouts.model = good
        await asyncio.gather(*stopping)
        await running.start()
        steps = [step.action async for step in models.steps("labels")]
        assert steps.count(pb.RolloutAction.ROLLOUT_ACTION_ROLLBACK) == 1
        assert states(await models.get("labels")) == ["PREVIOUS", "STABLE", "AVAILABLE"]


async def test_it_can_be_looked_up(run, fake) -> None:
    async with run(fake()) as running:
        health = running.channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await health(b"\n\x18reelsift.v1.ModelService") == b"\x08\x01"
        assert isinstance(running.channel, grpc.aio.Channel)

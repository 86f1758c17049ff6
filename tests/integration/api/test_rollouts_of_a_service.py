"""A whole service, its real store behind it: steps over gRPC, by the command line's client, and a restart in their midst. Only Triton
is left out: a model server in memory says what loads."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.sql import open_store
from orchestrator.api import messages as pb
from orchestrator.api.client import ReelsiftClient, connect
from orchestrator.app import running_app
from orchestrator.core.rollout import Hit, Rail
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.settings import Settings
from tests.support.fakes import FakeInference
from tests.support.model_server import FakeModelServer
from tests.support.services import until

BY = {"who": "somebody@somewhere", "why": "to see"}


class Inference(FakeInference):
    """No models that answer, but versions."""

    def __init__(self, models: FakeModelServer) -> None:
        super().__init__({})
        self.models = models  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Place:
    """Where services live one after the other."""

    folder: Path

    @asynccontextmanager
    async def service(self, models: FakeModelServer) -> AsyncIterator[ReelsiftClient]:
        """One of them."""

        @asynccontextmanager
        async def inference(settings: Settings, arena: Arena, telemetry: Telemetry) -> AsyncIterator[Inference]:
            yield Inference(models)

        settings = Settings(
            listen=f"unix:{self.folder}/grpc",
            http_listen="",
            data_dir=self.folder / "data",
            decode_threads=1,
            arena_bytes=16 << 20,
            drain_seconds=0.0,
            embed_text=False,
        )
        async with running_app(settings, inference) as address, connect(address) as client:
            yield client


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        yield Place(Path(folder))


async def actions(client: ReelsiftClient) -> list[str]:
    """What was done to labels, oldest first."""
    steps = [step async for step in client.models.steps("labels")]
    return [pb.RolloutAction.Name(step.action).removeprefix("ROLLOUT_ACTION_") for step in reversed(steps)]


async def test_what_was_wanted_holds_after_a_restart(place: Place) -> None:
    first, second = FakeModelServer(), FakeModelServer()
    async with place.service(first) as client:
        await client.models.stage("labels", 2, **BY)
        await client.models.promote("labels", **BY)
        await client.models.stage("labels", 3, **BY)
        await client.models.canary("labels", 1.0, **BY)
        assert first.version_for("labels", "anybody") == 3
    async with place.service(second) as client:
        await until(lambda: second.version_for("labels", "anybody") == 3)
        assert second.loaded == {("labels", 1), ("labels", 2), ("labels", 3)}
        await client.models.rollback("labels", **BY)
        assert second.version_for("labels", "anybody") == 2
        assert await actions(client) == ["STAGE", "PROMOTE", "STAGE", "CANARY", "ROLLBACK"]
    async with open_store(place.folder / "data") as store:
        assert [finding for finding in await store.run(audit) if finding.count] == []


async def test_a_candidate_whose_files_were_spoilt_meanwhile_is_rolled_back(place: Place) -> None:
    async with place.service(FakeModelServer()) as client:
        await client.models.stage("labels", 2, **BY)
        await client.models.canary("labels", 1.0, **BY)
    spoilt = FakeModelServer(unloadable={("labels", 2): Hit(Rail.FILES, "model.onnx is cut off")})
    async with place.service(spoilt) as client, asyncio.timeout(20):
        while len(await actions(client)) < 3:
            await asyncio.sleep(0.05)
        step = await anext(client.models.steps("labels"))
        assert (step.rail, step.automatic, step.detail) == ("FILES", True, "model.onnx is cut off")
        assert spoilt.version_for("labels", "anybody") == 1


async def test_a_canary_that_fails_is_rolled_back_within_seconds(place: Place) -> None:
    models = FakeModelServer()
    async with place.service(models) as client, asyncio.timeout(20):
        await client.models.stage("labels", 2, **BY)
        await client.models.canary("labels", 0.5, **BY)
        models.goes_bad("labels", 2, failures=100)
        await until(lambda: ("labels", 2) not in models.loaded)
        assert await actions(client) == ["STAGE", "CANARY", "ROLLBACK"]

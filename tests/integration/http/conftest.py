"""The HTTP server over a scripted application, on a private unix socket or port, and clients for it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from orchestrator.api.http.server import http_server
from orchestrator.pipeline.rollouts import RolloutService
from orchestrator.pipeline.telemetry import Telemetry
from tests.integration.http.scripted import ScriptedAnalyses, ScriptedSearches
from tests.support.model_server import FakeModelServer, MemoryRollouts
from tests.support.operations import FakeOperations, eventful


@dataclass
class Running:
    """A server, what is behind it, and a client of it."""

    address: str
    analyses: ScriptedAnalyses
    searches: ScriptedSearches
    models: FakeModelServer
    operations: FakeOperations
    client: httpx.AsyncClient

    async def uploading(self, size: int | None = None) -> str:
        """The id of a new analysis that waits for its upload."""
        upload = {} if size is None else {"contentLength": str(size)}
        answer = await self.client.post("/api/v1/analyses", json={"config": {"upload": upload}})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["analysis"]["analysisId"])

    async def analysed(self) -> str:
        """The id of a new analysis that has ended."""
        answer = await self.client.post("/api/v1/analyses", json={"config": {"path": "/allowed/film.mp4"}})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["analysis"]["analysisId"])


Serve = Callable[..., AbstractAsyncContextManager[Running]]


@asynccontextmanager
async def serving(
    analyses: ScriptedAnalyses | None = None,
    checks: Mapping[str, bool] | Exception | None = None,
    *,
    port: bool = False,
    telemetry: Telemetry | None = None,
    grace: float = 0.3,
) -> AsyncIterator[Running]:
    """Run a server until the context ends."""
    analyses, searches, models = analyses or ScriptedAnalyses(), ScriptedSearches(), FakeModelServer()
    rollouts, operations = RolloutService(models, MemoryRollouts()), eventful()

    async def ready() -> Mapping[str, bool]:
        if isinstance(checks, Exception):
            raise checks
        return {"store": True} if checks is None else checks

    with tempfile.TemporaryDirectory() as folder:
        listen = "127.0.0.1:0" if port else f"unix:{Path(folder) / 'http'}"
        async with http_server(
            analyses, searches, rollouts, listen, ready=ready, operations=operations, telemetry=telemetry, grace=grace
        ) as address:
            uds = None if port else address.removeprefix("unix:")
            base = f"http://{address}" if port else "http://reelsift"
            async with httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=uds), base_url=base, timeout=20
            ) as client:
                yield Running(address, analyses, searches, models, operations, client)


@pytest.fixture
def serve() -> Serve:
    """Runs a server."""
    return serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_server() -> AsyncIterator[Running]:
    """A server for all tests of a module."""
    async with serving() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def running(one_server: Running) -> Running:
    """A server with nothing in it."""
    vars(one_server.analyses).update(vars(ScriptedAnalyses()))
    vars(one_server.searches).update(vars(ScriptedSearches()))
    return one_server

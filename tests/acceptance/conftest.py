"""One server for the whole run, and what several tests ask of it once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.adapters.triton.metrics import ModelMetrics
from orchestrator.api.client import ReelsiftClient, connect
from tests.acceptance.answers import Answer, parse, reelsift
from tests.acceptance.server import Server
from tests.conftest import Film

LOG_TAIL = 8000


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """``reelsift serve``; in the end it must leave well and leave nothing."""
    running = Server()
    try:
        yield running
    finally:
        running.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the server's log with every failure."""
    report = yield
    running = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(running, Server) and running.log.exists():
        report.sections.append(("server log", running.log.read_text()[-LOG_TAIL:]))
    return report


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ReelsiftClient]:
    async with connect(server.address) as connected:
        yield connected


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the real command against the server, and what Triton counted meanwhile."""

    answer: Answer
    report: Path
    before: dict[str, ModelMetrics]
    after: dict[str, ModelMetrics]


@pytest.fixture(scope="session")
def run(server: Server, composite: Film, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The composite through the default profile."""
    report = tmp_path_factory.mktemp("report") / "report.html"
    before = server.metrics()
    done = reelsift("analyze", composite.path, "--json", "--fresh", "--server", server.address, "--report", report)
    assert done.returncode == 0, done.stderr
    return Run(parse(done.stdout.splitlines()), report, before, server.metrics())

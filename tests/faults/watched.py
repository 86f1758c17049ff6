"""A service whose health is looked at, and everything that there is to hear of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from orchestrator.api.client import ReelsiftClient
from orchestrator.core.alerting import AlertFilter
from orchestrator.core.health import Status
from orchestrator.core.jobs import SourceKind, SourceRef
from orchestrator.pipeline.observing import Observing
from orchestrator.pipeline.operation_ports import Observable
from orchestrator.pipeline.service import AnalysisService
from tests.support.hook import Hook
from tests.support.nvml import FakeNvml
from tests.support.services import spec

SECONDS = 15.0  # for health, alert, log and webhook to agree, and to agree that it is over
OPEN = AlertFilter(open=True)


@dataclass
class Service:
    """A running service, and what there is to hear of it."""

    folder: Path
    client: ReelsiftClient
    observing: Observing
    analyses: AnalysisService
    hook: Hook
    logs: Sequence[MutableMapping[str, Any]]
    nvml: FakeNvml
    ahead: list[float]  # the wall clock, against the one since boot
    inference: Observable
    strangers: Set[psutil.Process]  # what other tests have started

    def processes(self, *words: str) -> list[psutil.Process]:
        """Its own whose command line has all these words."""
        found = []
        for child in set(psutil.Process().children()) - self.strangers:
            for process in family(child):
                with suppress(psutil.Error):
                    line = " ".join(process.cmdline())
                    if all(word in line for word in words) and process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return found

    def servers(self) -> list[psutil.Process]:
        """Its ``tritonserver``."""
        return [each for each in self.processes("tritonserver") if each.name() == "tritonserver"]

    def workers(self) -> list[psutil.Process]:
        """Its decode workers: the fork server's children, which have its command line."""
        found = self.processes("orchestrator.adapters.decoders.forkserver")
        own = {each.pid for each in found}
        return [each for each in found if each.ppid() in own]

    def answering(self, model: str) -> list[psutil.Process]:
        """The processes of a model that is ready. One that is killed while Triton loads it may keep Triton from loading it for minutes."""
        standing = self.inference.standings().get(model)
        return self.processes("triton_python_backend_stub", model) if standing and standing.ready else []

    def status(self, component: str) -> Status:
        """What health says."""
        found = [each.reading for each in self.observing.health().components if each.reading.component == component]
        return found[0].status if found else Status.HEALTHY

    async def is_open(self, component: str) -> bool:
        """What the list of alerts says."""
        return component in [alert.component for alert in await self.observing.alerts(OPEN)]

    def told(self, event: str, component: str) -> int:
        """How often the log says it."""
        return sum((line["event"], line.get("subject")) == (event, component) for line in self.logs)

    def heard(self, word: str, component: str) -> int:
        """How often the webhook was told."""
        return sum(body["title"].startswith(f"[{word}] {component} at ") for body in list(self.hook.taken))

    async def well(self) -> None:
        """Wait until nothing is wrong: a fault may have touched more than what it was meant for."""

        async def facts() -> dict[str, object]:
            bad = {each.reading.component for each in self.observing.health().components if each.reading.status}
            bad |= {alert.component for alert in await self.observing.alerts(OPEN)}
            return {"bad": bad - {"disk/data"}}  # the disk that the tests run on may be full

        await within(facts, {"bad": set()})

    @asynccontextmanager
    async def expecting(self, component: str, status: Status) -> AsyncIterator[None]:
        """Behind a fault: everything says so within ``SECONDS``. The body mends it; then everything says that it is over."""
        raised, resolved = self.told("alert.raised", component), self.told("alert.resolved", component)
        heard, over = self.heard(status.name, component), self.heard("RESOLVED", component)

        async def facts() -> dict[str, object]:
            return {
                "health": self.status(component).name,
                "open": await self.is_open(component),
                "raised": self.told("alert.raised", component) - raised,
                "resolved": self.told("alert.resolved", component) - resolved,
                "told": self.heard(status.name, component) - heard,
                "told it is over": self.heard("RESOLVED", component) - over,
            }

        bad = {"health": status.name, "open": True, "raised": 1, "resolved": 0, "told": 1, "told it is over": 0}
        await within(facts, bad)
        yield
        await within(facts, bad | {"health": "HEALTHY", "open": False, "resolved": 1, "told it is over": 1})


async def within(facts: Callable[[], Awaitable[dict[str, object]]], wanted: dict[str, object]) -> None:
    """Wait until the facts are those that are wanted."""
    deadline = time.monotonic() + SECONDS
    while (found := await facts()) != wanted:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def analyse(service: Service, name: str = "film.mp4") -> str:
    """Analyse a film in the service's folder to its end; its state."""
    film = SourceRef(SourceKind.PATH, str(service.folder / name))
    record, _ = await service.analyses.create(spec(film, analyzers=("labels",), reuse=False))
    async for _ in service.analyses.events(record.id):
        pass
    return (await service.analyses.get(record.id)).state.value


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process, and all below it."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []

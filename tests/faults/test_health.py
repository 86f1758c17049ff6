"""Faults, injected one by one into a whole service with a real Triton: health, alert, log line and webhook say the same of each, and
say that it is over when it is.

The service looks every second here, and every five by default; an alert is there after three looks at most (proven in
``tests/unit/pipeline/test_watching.py``). Two faults cannot be had for real on every machine that runs tests: a jump of the wall clock, and
a GPU that goes away. There the probe is given another clock, and another library than NVIDIA's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from orchestrator import app, watch
from orchestrator.adapters.probes import clock as clock_module
from orchestrator.adapters.probes import triton as triton_module
from orchestrator.adapters.stores.sqlite import FILE_NAME
from orchestrator.api.client import connect
from orchestrator.app import running_app
from orchestrator.core.alerting import AlertFilter
from orchestrator.core.health import Status
from orchestrator.errors import QueueFull, ReelsiftError
from orchestrator.pipeline.observing import Observing
from orchestrator.pipeline.operation_ports import Observable
from orchestrator.pipeline.service import AnalysisService
from orchestrator.reloading import Reloads
from orchestrator.settings import Settings
from tests.conftest import Film
from tests.faults.watched import Service, analyse, within
from tests.media.synth import plain
from tests.support.hook import listening
from tests.support.nvml import FakeNvml
from tests.support.services import UPLOAD, spec
from tests.support.small_disk import fill, small_disk

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

LOOK = 1.0
REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
EVER = {"warning": 1e6, "critical": 1e7}


@pytest_asyncio.fixture(loop_scope="module")
async def service(one_service: Service) -> Service:
    """The service, with nothing wrong."""
    await one_service.well()
    return one_service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_service() -> AsyncIterator[Service]:
    """One service for all faults, from its start to its end."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="health-")))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        hook, logs = stack.enter_context(listening()), stack.enter_context(capture_logs())
        nvml, ahead = FakeNvml(), [0.0]
        strangers = set(psutil.Process().children())
        patch.setitem(sys.modules, "pynvml", nvml)
        patch.setattr(app, "open_memory_on", lambda *_, **__: None)  # the promised GPU is there for the library alone
        patch.setattr(watch, "Clock", partial(clock_module.Clock, ahead=lambda: ahead[0]))
        patch.setattr(watch, "Decoders", partial(watch.Decoders, seconds=4.0))
        patch.setattr(clock_module, "REMEMBERED_SECONDS", 4.0)
        patch.setattr(triton_module, "AGAIN_SECONDS", 2.0)
        made: list[tuple[Observing, AnalysisService, Observable]] = []

        @asynccontextmanager
        async def watched(
            settings: Settings, world: watch.World, reloads: Reloads, **more: Any
        ) -> AsyncIterator[Observing]:
            async with watch.watched(settings, world, reloads, **more) as observing:
                assert isinstance(world.inference, Observable)
                made.append((observing, world.service, world.inference))
                yield observing

        patch.setattr(app, "watched", watched)
        stack.enter_context(small_disk(folder / "uploads", 64 << 20))
        (folder / "film.mp4").write_bytes(plain())
        copy = folder / "models" / "labels"
        await asyncio.to_thread(link, REPOSITORY / "labels", copy)
        settings = Settings(
            listen=f"unix:{folder}/grpc",
            http_listen="",
            data_dir=folder / "data",
            spool_dir=folder / "uploads",
            model_repository=folder / "models",
            roots=(folder,),
            gpu="0",
            decode_threads=1,
            arena_bytes=32 << 20,
            max_running=1,
            max_waiting=2,
            disk_low_bytes=1 << 20,
            disk_high_bytes=2 << 20,
            drain_seconds=0.0,
            embed_text=False,
            look_seconds=LOOK,
            notify=(hook.address(),),
            # The machine that runs the tests may be busy, and full, for reasons of its own.
            limits={"models": EVER, "memory": EVER, "cpu": EVER, "database": EVER, "artifacts": EVER},  # type: ignore[arg-type]
        )
        address = await stack.enter_async_context(running_app(settings))
        client = await stack.enter_async_context(connect(address))
        [(observing, analyses, inference)] = made
        running = Service(folder, client, observing, analyses, hook, logs, nvml, ahead, inference, strangers)
        assert await analyse(running) == "SUCCEEDED"
        await observing.watching.look()  # the model has been asked for since the last one
        yield running


def link(source: Path, target: Path) -> None:
    """The same files under other names, so that they can be taken away."""
    for file in source.rglob("*"):
        if file.is_file():
            (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target / file.relative_to(source))


@asynccontextmanager
async def again_and_again(victims: Callable[[], list[psutil.Process]], every: float = 0.1) -> AsyncIterator[None]:
    """Kill them as soon as they are there, or every so many seconds."""

    async def kill() -> None:
        while True:
            for victim in await asyncio.to_thread(victims):
                with suppress(psutil.Error):
                    victim.kill()
            await asyncio.sleep(every)

    task = asyncio.create_task(kill())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_all_is_well_at_first(service: Service) -> None:
    components = {each.reading.component: each.reading for each in service.observing.health().components}
    assert set(components) == {
        "triton",
        "model/labels",
        "decoders",
        "gpu/0",
        "database",
        "artifacts",
        "queue",
        "workers",
        "failures",
        "frames",
        "sessions",
        "latency",
        "disk/data",
        "disk/uploads",
        "memory",
        "cpu",
        "clock",
    }
    bad = {name: reading for name, reading in components.items() if reading.status is not Status.HEALTHY}
    assert bad.keys() <= {"disk/data"}, bad  # the disk that the tests run on may be full


async def test_triton_is_stopped(service: Service) -> None:
    [server] = service.servers()
    server.suspend()
    try:
        async with service.expecting("triton", Status.CRITICAL):
            server.resume()
    finally:
        server.resume()


async def test_triton_is_killed_again_and_again(service: Service) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(again_and_again(service.servers))
        async with service.expecting("triton", Status.CRITICAL):
            await stack.aclose()
    assert await analyse(service) == "SUCCEEDED"


async def test_the_processes_of_a_model_are_killed_again_and_again(service: Service) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(again_and_again(lambda: service.answering("labels")))
        async with service.expecting("model/labels", Status.CRITICAL):
            await stack.aclose()


async def test_a_model_is_missing(service: Service) -> None:
    model = next((service.folder / "models" / "labels").glob("*/model.onnx"))
    away = model.with_name("elsewhere")
    model.rename(away)
    for stub in service.processes("triton_python_backend_stub", "labels"):
        stub.kill()
    try:
        async with service.expecting("model/labels", Status.CRITICAL):
            away.rename(model)
    finally:
        if away.exists():
            away.rename(model)
    assert await analyse(service) == "SUCCEEDED"


async def test_the_database_is_locked(service: Service) -> None:
    with closing(sqlite3.connect(service.folder / "data" / FILE_NAME, timeout=5, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        async with service.expecting("database", Status.CRITICAL):
            other.execute("ROLLBACK")


async def test_a_disk_is_full_by_95_percent(service: Service) -> None:
    filler = fill(service.folder / "uploads", leave=(64 << 20) // 20)
    async with service.expecting("disk/uploads", Status.CRITICAL):
        filler.unlink()


async def test_decoders_crash_again_and_again(service: Service, composite: Film) -> None:
    shutil.copy(composite.path, service.folder / "long.mp4")  # so that whoever is killed is at work

    async def work() -> None:
        while True:
            with suppress(ReelsiftError):
                await analyse(service, "long.mp4")

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(again_and_again(service.workers, 0.4))  # 10 in 4 s: between 6 and 20
        task = asyncio.create_task(work())
        stack.callback(task.cancel)
        async with service.expecting("decoders", Status.WARNING):
            await stack.aclose()
            await asyncio.gather(task, return_exceptions=True)
    assert await analyse(service) == "SUCCEEDED"


async def test_the_fork_server_is_stopped(service: Service) -> None:
    [server] = [
        each for each in service.processes("orchestrator.adapters.decoders.forkserver") if each.ppid() == os.getpid()
    ]
    os.kill(server.pid, signal.SIGSTOP)
    async with service.expecting("decoders", Status.CRITICAL):
        os.kill(server.pid, signal.SIGCONT)


async def test_the_queue_is_full(service: Service) -> None:
    await idle(service)
    made = [(await service.analyses.create(spec(UPLOAD, analyzers=("labels",))))[0].id for _ in range(3)]
    with pytest.raises(QueueFull):
        await service.analyses.create(spec(UPLOAD, analyzers=("labels",)))
    async with service.expecting("queue", Status.CRITICAL):
        for name in made:
            await service.analyses.cancel(name)


async def idle(service: Service) -> None:
    """Wait until nothing is under way."""

    async def facts() -> dict[str, object]:
        await service.observing.watching.look()
        return {name: service.observing.watching.values[name] for name in ("queued", "running")}

    await within(facts, {"queued": 0.0, "running": 0.0})


async def test_the_clock_jumps(service: Service) -> None:
    service.ahead[0] -= 10.0
    async with service.expecting("clock", Status.WARNING):
        pass  # it goes on as it should from there on


async def test_a_promised_gpu_is_absent(service: Service) -> None:
    service.nvml.gone = True
    async with service.expecting("gpu/0", Status.CRITICAL):
        service.nvml.gone = False


async def test_samples_and_alerts_of_all_that_are_kept(service: Service) -> None:
    await service.observing.history.keep()
    [*_, sample] = await service.observing.samples(1)
    assert {"triton_up", "model_ready/labels", "queued", "cpu_ratio", "disk_free_bytes/uploads", "gpu_ratio/0"} <= set(
        sample.values
    )
    began = time.monotonic()
    alerts = await service.observing.alerts(AlertFilter(), 1000)
    assert time.monotonic() - began < 1
    kinds = {alert.runbook for alert in alerts if alert.resolved}
    assert {"triton", "model", "database", "disk", "decoders", "queue", "clock", "gpu"} <= kinds

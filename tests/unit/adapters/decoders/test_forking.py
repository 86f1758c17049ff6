"""The fork server: workers are had at once, their ends are told, and nothing outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from orchestrator.adapters.decoders import forking, wire, workers
from orchestrator.adapters.decoders.forking import Forked, ForkServer, ForkServerDied
from orchestrator.adapters.decoders.forkserver import NICENESS
from orchestrator.adapters.decoders.process import ProcessDecoder, ProcessDecodeSession
from orchestrator.adapters.decoders.workers import Worker, WorkerDied
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.frames import FrameBatch, Tap, View
from orchestrator.core.sampling import EVERY_FRAME
from orchestrator.ports import DecodeEvent, DecodeSession
from tests.unit.adapters.decoders.clips import Clip, x264
from tests.unit.adapters.decoders.run import collect

SPACE = 6 << 30
SERVER = "orchestrator.adapters.decoders.forkserver"


@pytest.fixture
async def others() -> set[psutil.Process]:
    """Children that other tests have."""
    return set(psutil.Process().children(recursive=True))


@pytest.fixture
async def forks(others: set[psutil.Process]) -> AsyncIterator[ForkServer]:
    server = ForkServer()
    yield server
    await server.close()
    assert set(psutil.Process().children(recursive=True)) <= others


def server_of(worker: Forked) -> psutil.Process:
    parent = psutil.Process(worker.pid).parent()
    assert parent is not None
    assert SERVER in parent.cmdline()
    return parent


def share_of(pid: int) -> int | None:
    """Niceness of the process' session, where the kernel keeps one."""
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text().rpartition("nice ")[2])
    except (OSError, ValueError):
        return None


async def test_workers_leave_the_cores_to_the_models(forks: ForkServer) -> None:
    worker = await Worker.start(forks, 1, SPACE)
    pid = worker.process.pid
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    assert os.getsid(pid) != os.getsid(0)
    if (share := share_of(pid)) is not None:
        assert share == NICENESS
        assert share_of(os.getpid()) != NICENESS
    await worker.stop()


async def test_workers_are_copies_of_one_warm_process(forks: ForkServer) -> None:
    first = await Worker.start(forks, 2, SPACE)
    used = psutil.Process(first.process.pid).cpu_times()
    second, third = await asyncio.gather(Worker.start(forks, 1, SPACE), Worker.start(forks, 1, SPACE))
    pids = {worker.process.pid for worker in (first, second, third)}
    assert len(pids) == 3
    assert {psutil.Process(pid).parent() for pid in pids} == {server_of(first.process)}
    assert psutil.Process(first.process.pid).num_threads() == 4, "one that demuxes, two that decode, one that listens"
    assert used.user + used.system < 0.1, "it does not start a Python"
    for worker in (first, second, third):
        await worker.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_an_end_is_told_with_its_status(forks: ForkServer) -> None:
    killed, left = await Worker.start(forks, 1, SPACE), await Worker.start(forks, 1, SPACE)
    os.kill(killed.process.pid, signal.SIGXCPU)
    assert await killed.process.wait() == -signal.SIGXCPU
    with pytest.raises(WorkerDied) as death:
        await killed.receive(10)
    assert death.value.status == -signal.SIGXCPU
    left._channel.shutdown(2)  # the service has gone: a worker without a job leaves
    assert await left.process.wait() == 0
    left.kill()  # too late, and harmless
    await killed.stop()
    await left.stop()


async def test_a_worker_holds_no_descriptor_of_another(forks: ForkServer) -> None:
    workers = [await Worker.start(forks, 1, SPACE) for _ in range(3)]
    held = [len(os.listdir(f"/proc/{worker.process.pid}/fd")) for worker in workers]
    assert held == [4, 4, 4], "the standard three and its own socket"
    for worker in workers:
        await worker.stop()


async def test_a_terminals_interrupt_is_the_services_own_matter(forks: ForkServer) -> None:
    worker = await Worker.start(forks, 1, SPACE)
    server = server_of(worker.process)
    for process in (server, psutil.Process(worker.process.pid)):
        process.send_signal(signal.SIGINT)
    other = await Worker.start(forks, 1, SPACE)
    assert server_of(other.process) == server_of(worker.process) == server
    await worker.stop()
    assert worker.process.returncode == -signal.SIGKILL, "it was there to the last"
    await other.stop()


async def test_its_death_ends_its_workers_and_the_next_one_is_new(forks: ForkServer) -> None:
    worker = await Worker.start(forks, 1, SPACE)
    old = server_of(worker.process)
    old.kill()
    assert await worker.process.wait() is None
    assert not psutil.pid_exists(worker.process.pid) or psutil.Process(worker.process.pid).status() == "zombie"
    with pytest.raises(WorkerDied):
        await worker.receive(10)
    await worker.stop()
    worker = await Worker.start(forks, 1, SPACE)
    assert server_of(worker.process) != old
    await worker.stop()


async def test_its_death_while_it_warms_up_is_told(forks: ForkServer, others: set[psutil.Process]) -> None:
    await forks.start()
    (child,) = set(psutil.Process().children()) - others
    starting = asyncio.create_task(Worker.start(forks, 1, SPACE))
    await asyncio.sleep(0.02)
    child.kill()
    with pytest.raises(WorkerDied, match="fork server"):
        await starting
    await (await Worker.start(forks, 1, SPACE)).stop()


async def test_one_that_does_not_answer_is_replaced(forks: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await Worker.start(forks, 1, SPACE)
    server_of(worker.process).suspend()
    monkeypatch.setattr(forking, "START_SECONDS", 0.3)
    ours, theirs = wire.pair()
    with ours, theirs, pytest.raises(ForkServerDied, match="does not answer"):
        await forks.fork(theirs, 1, SPACE)
    monkeypatch.undo()
    assert await worker.process.wait() is None
    await worker.stop()
    await (await Worker.start(forks, 1, SPACE)).stop()


async def test_a_worker_ends_though_the_fork_server_does_not_tell(
    forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await Worker.start(forks, 1, SPACE)
    server = server_of(worker.process)
    server.suspend()
    monkeypatch.setattr(workers, "_DYING_SECONDS", 0.1)
    monkeypatch.setattr(workers, "_REAPING_SECONDS", 0.2)
    await asyncio.wait_for(worker.stop(), 5)
    assert worker.process.returncode is None
    server.resume()  # now it tells what is known already
    await (await Worker.start(forks, 1, SPACE)).stop()


async def test_what_nobody_waits_for_any_more_is_ended(forks: ForkServer, others: set[psutil.Process]) -> None:
    await (await Worker.start(forks, 1, SPACE)).stop()
    (server,) = set(psutil.Process().children()) - others
    for steps in range(12):  # cancelled at each of its steps
        starting = asyncio.create_task(Worker.start(forks, 1, SPACE))
        for _ in range(steps):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    last = await Worker.start(forks, 1, SPACE)
    deadline = time.monotonic() + 10
    while [child.pid for child in server.children()] != [last.process.pid]:
        assert time.monotonic() < deadline, "workers were left behind"
        await asyncio.sleep(0.02)
    await last.stop()


async def test_nothing_is_forked_behind_the_end(forks: ForkServer) -> None:
    await forks.start()
    await forks.close()
    with pytest.raises(WorkerDied):
        await Worker.start(forks, 1, SPACE)


@pytest.mark.parametrize("times", [1, 5])
async def test_a_session_goes_on_when_the_fork_server_dies(times: int, tmp_path: Path) -> None:
    """However often: no media is to blame for that."""
    clip = Clip("a.mp4", frames=1000, options=x264("keyint=20:min-keyint=20")).write(tmp_path)
    tap = Tap(View(48, 36), EVERY_FRAME, 5)
    killed: list[int] = []
    killing: list[asyncio.Task[None]] = []

    async def kill(session: DecodeSession) -> None:
        assert isinstance(session, ProcessDecodeSession)
        while len(killed) < times:
            if session.worker_pid is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    parent = psutil.Process(session.worker_pid).parent()
                    # Not who adopts orphans.
                    if parent is not None and parent.pid not in killed and SERVER in parent.cmdline():
                        parent.kill()
                        killed.append(parent.pid)
            await asyncio.sleep(0.002)

    async def seen(session: DecodeSession, event: DecodeEvent) -> None:
        if isinstance(event, FrameBatch) and event.rows[-1].index > 50 and not killing:
            killing.append(asyncio.create_task(kill(session)))

    with Arena(32 << 20) as arena, PathSource(clip, [tmp_path]) as source:
        decoder = ProcessDecoder(arena, threads=2)
        try:
            calm = await collect(decoder, source, tap)
            rough = await collect(decoder, source, tap, seen=seen)
        finally:
            await decoder.close()
        assert arena.in_use == 0
    assert len(killed) == times
    rough.same_as(calm)
    await killing[0]


def test_nothing_outlives_the_service() -> None:
    script = """
import asyncio, os, signal
from orchestrator.adapters.decoders.forking import ForkServer
from orchestrator.adapters.decoders.workers import Worker

async def main():
    worker = await Worker.start(ForkServer(), 1, 6 << 30)
    print(worker.process.pid, os.popen(f"ps -o ppid= -p {worker.process.pid}").read().strip(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    told = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False, timeout=60, text=True)
    pids = [int(word) for word in told.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_it_inherits_no_secrets(forks: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    worker = await Worker.start(forks, 1, SPACE)
    assert "hush" not in str(psutil.Process(worker.process.pid).environ())
    await worker.stop()

"""Triton is harmed; callers get right answers all the same."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from orchestrator.adapters.frames import shm
from orchestrator.adapters.triton import guard, hosts
from orchestrator.adapters.triton.client import Limits
from orchestrator.adapters.triton.connection import Connection
from orchestrator.adapters.triton.model import Phase
from tests.integration.adapters.triton.conftest import BATCH, SIDE, Stack, kill, running

BACK_WITHIN_S = 10.0


@pytest.mark.parametrize("victims", [1, 2])
async def test_killed_stubs_are_invisible(stack: Stack, victims: int):
    stubs = stack.host.stubs("one")
    assert len(stubs) == 2
    answers, longest = await stack.under_load(lambda: [kill(stub.pid) for stub in stubs[:victims]])
    assert answers > 20
    assert longest < BACK_WITHIN_S
    assert len(stack.host.stubs("one")) == 2


async def test_a_dead_stub_is_noticed_at_once_though_its_sibling_answers(stack: Stack):
    kill(stack.host.stubs("one")[0].pid)
    assert await stack.eventually("triton.stub_died", "one") < 1.0
    await stack.eventually("triton.healed", "one")
    await stack.right_answer()


async def test_a_stopped_stub_is_replaced(stack: Stack):
    stubs = stack.host.stubs("one")
    answers, longest = await stack.under_load(lambda: [os.kill(stub.pid, signal.SIGSTOP) for stub in stubs], seconds=4)
    assert answers > 20
    assert longest < BACK_WITHIN_S


async def test_an_idle_broken_model_is_found_by_its_probe(stack: Stack):
    for stub in stack.host.stubs("one"):
        os.kill(stub.pid, signal.SIGSTOP)
    await stack.eventually("triton.healed", "one", within=BACK_WITHIN_S)
    await stack.right_answer()


@pytest.mark.parametrize("victim", ["server", "guard"])
async def test_a_killed_server_is_invisible(stack: Stack, victim: str):
    old, old_stubs = stack.server, stack.host.stubs("one")
    pid = old.pid if victim == "server" else old._guard.pid
    answers, longest = await stack.under_load(lambda: kill(pid), seconds=4)
    assert answers > 20
    assert longest < BACK_WITHIN_S
    assert stack.server.pid != old.pid
    assert not list(shm.SHM.glob(f"{old.name}*"))
    assert not {stub.pid for stub in old_stubs} & set(psutil.pids())


async def test_every_wanted_model_comes_back(repository: Path):
    async with running(repository, ["one", "two"]) as stack:
        kill(stack.server.pid)
        await stack.eventually("triton.server_ended")
        await stack.inference.ready(["one", "two"])
        assert stack.supervisor.state() == {"one": Phase.READY, "two": Phase.READY}
        await stack.right_answer("two")


async def test_many_deaths_end_in_a_planned_restart_and_leave_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hosts, "_LEAKS_BEFORE_RESTART", 3)
    async with running(repository, ["one"]) as stack:
        first = stack.server.pid
        for _ in range(6):
            before = stack.supervisor.model("one").epoch
            kill(stack.host.stubs("one")[0].pid)
            async with asyncio.timeout(BACK_WITHIN_S):
                while stack.supervisor.model("one").epoch == before:
                    await asyncio.sleep(0.01)
            await stack.right_answer()
        assert stack.server.pid != first


async def test_a_cancelled_request_keeps_its_memory_until_triton_is_done(stack: Stack, monkeypatch: pytest.MonkeyPatch):
    plain, let_go = Connection.infer, asyncio.Event()

    async def slow(self, request):
        await let_go.wait()
        return await plain(self, request)

    monkeypatch.setattr(Connection, "infer", slow)
    slot = await stack.arena.allocate(BATCH * SIDE * SIDE * 3, owner="stream")
    task = asyncio.create_task(stack.inference.infer("one", {"image": slot}))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stack.arena.release_owner("stream") == 1
    assert stack.arena.in_use > 0, "Triton may still read it"
    assert stack.transport.scratch.in_use > 0, "Triton may still write it"
    let_go.set()
    async with asyncio.timeout(5):
        while stack.arena.in_use or stack.transport.scratch.in_use:
            await asyncio.sleep(0.01)


async def test_a_lost_request_keeps_its_memory_until_the_server_has_ended(stack: Stack):
    _, connection = await stack.supervisor.healed("one")
    os.kill(stack.server.pid, signal.SIGSTOP)
    slot = await stack.arena.allocate(BATCH * SIDE * SIDE * 3, owner="stream")
    task = asyncio.create_task(stack.inference.infer("one", {"image": slot}))
    await asyncio.sleep(0.2)
    await connection._channel.close()  # the channel breaks, but the server (it only sleeps) has the request
    await asyncio.sleep(0.1)
    stack.arena.release_owner("stream")
    assert stack.arena.in_use > 0, "freed although the server lives"
    kill(stack.server.pid)
    with pytest.raises(ValueError, match="returned"):  # the stream is dead: it may not try again
        await asyncio.wait_for(task, BACK_WITHIN_S)
    async with asyncio.timeout(BACK_WITHIN_S):
        while stack.arena.in_use:
            await asyncio.sleep(0.01)
    await stack.right_answer()


async def test_a_request_without_an_answer_is_tried_again(repository: Path, monkeypatch: pytest.MonkeyPatch):
    async with running(repository, ["one"], Limits(request_s=1.0)) as stack:
        plain, calls = Connection.infer, 0

        async def first_hangs(self, request):
            nonlocal calls
            calls += 1
            if calls == 1:
                await asyncio.sleep(3)
            return await plain(self, request)

        monkeypatch.setattr(Connection, "infer", first_hangs)
        await stack.right_answer()
        assert calls >= 2
        await stack.eventually("triton.healed", "one")
        await asyncio.sleep(3)


_PARENT = """
import asyncio, sys
from pathlib import Path
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.triton.hosts import EmbeddedHost
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import SharedMemoryTransport
async def main():
    arena = Arena(1 << 20)
    host = EmbeddedHost(Path(sys.argv[1]), [arena])
    supervisor = Supervisor(host, SharedMemoryTransport(arena), Path(sys.argv[1]))
    await supervisor.start()
    await supervisor.ready(["one"])
    print("ready", host.server._guard.pid, host.server.name, arena.name, host.server._folder, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("with_guard", [False, True])
def test_a_killed_parent_leaves_no_process_and_no_memory(repository: Path, with_guard: bool):
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(repository)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    line = next(line for line in parent.stdout if line.startswith("ready")).split()[1:]
    session, server_name, arena_name, folder = int(line[0]), line[1], line[2], Path(line[3])
    assert folder.exists()
    assert len(guard.processes(session, server_name)) == 4  # guard, server, two stubs
    if with_guard:
        kill(session)
    parent.kill()
    parent.wait()
    if with_guard:  # nobody is left who could; the next start does it
        swept = "import sys; from pathlib import Path; from orchestrator.adapters.triton import distribution, server"
        subprocess.run([sys.executable, "-c", f"{swept}; server.sweep(distribution.install())"], check=True)
    deadline = time.monotonic() + 5
    while guard.processes(session, server_name) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert guard.processes(session, server_name) == []
    assert not list(shm.SHM.glob(f"{server_name}*"))
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.02)  # the guard removes it last
    assert not folder.exists()
    shm.sweep()
    assert not (shm.SHM / arena_name).exists()


async def test_answers_are_those_of_their_own_pixels_even_while_all_is_killed(stack: Stack):
    """Negative control of the harness too: a wrong answer fails ``right_answer``."""
    wrong = np.zeros((BATCH, 3))
    outputs = await stack.inference.infer("one", {"image": np.ones((BATCH, SIDE, SIDE, 3), np.uint8)})
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(outputs["sums"], wrong)
    for _ in range(2):
        await stack.under_load(lambda: kill(stack.server.pid), seconds=2)

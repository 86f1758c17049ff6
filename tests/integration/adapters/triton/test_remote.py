"""A Triton that someone else runs: the same answers, inline, and patience while it is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import pytest

from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.triton.client import TritonInference
from orchestrator.adapters.triton.connection import Connection
from orchestrator.adapters.triton.hosts import RemoteHost
from orchestrator.adapters.triton.supervisor import Patience, Supervisor
from orchestrator.adapters.triton.transport import InlineTransport, SharedMemoryTransport
from orchestrator.errors import InferenceUnavailable, InternalError
from tests.integration.adapters.triton.conftest import BATCH, SIDE, Stack, kill, running

PIXELS = np.random.default_rng(3).integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)


@pytest.fixture
async def remote(stack: Stack, repository: Path) -> AsyncIterator[TritonInference]:
    transport = InlineTransport()
    host = RemoteHost(stack.server.endpoint.target)
    supervisor = Supervisor(host, transport, repository, Patience(load_s=2, heal_s=8, probe_period_s=0.5))
    await supervisor.start()
    inference = TritonInference(supervisor, transport)
    await inference.ready(["one"])
    yield inference
    await supervisor.stop()


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each request that is sent."""
    sent: list[int] = []
    plain = Connection.infer

    async def spied(self, request):
        sent.append(request.ByteSize())
        return await plain(self, request)

    monkeypatch.setattr(Connection, "infer", spied)
    return sent


async def test_the_answers_are_the_same(remote: TritonInference):
    outputs = await remote.infer("one", {"image": PIXELS})
    np.testing.assert_array_equal(outputs["sums"], PIXELS.sum((1, 2), dtype=np.float32))
    assert remote.batch("one") == BATCH
    assert remote.version("one").version == "1"


async def test_a_slot_travels_inline(remote: TritonInference, stack: Stack, sizes: list[int]):
    with await stack.arena.allocate(PIXELS.nbytes) as slot:
        slot.array(PIXELS.shape)[...] = PIXELS
        outputs = await remote.infer("one", {"image": slot})
    np.testing.assert_array_equal(outputs["sums"], PIXELS.sum((1, 2), dtype=np.float32))
    assert max(sizes) > PIXELS.nbytes


async def test_a_model_that_it_lacks_is_unavailable(remote: TritonInference):
    with pytest.raises(InferenceUnavailable, match="two"):
        await remote.ready(["two"])  # nobody loaded it there


async def test_its_loss_is_unavailable_in_bounded_time(remote: TritonInference, stack: Stack):
    await stack.supervisor.stop()
    async with asyncio.timeout(30):
        with pytest.raises(InferenceUnavailable):
            await remote.infer("one", {"image": PIXELS})


async def test_a_refusal_of_a_triton_in_decay_is_tried_again(remote: TritonInference, monkeypatch: pytest.MonkeyPatch):
    refusals = iter(["Failed to process the request(s): lock_exception"] * 2)
    plain = Connection.infer

    async def refused_twice(self, request):
        if words := next(refusals, ""):
            raise grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), words)
        return await plain(self, request)

    monkeypatch.setattr(Connection, "infer", refused_twice)
    outputs = await remote.infer("one", {"image": PIXELS})
    np.testing.assert_array_equal(outputs["sums"], PIXELS.sum((1, 2), dtype=np.float32))


async def test_what_a_model_refuses_again_and_again_is_its_own_fault(
    remote: TritonInference, monkeypatch: pytest.MonkeyPatch
):
    asked = 0
    plain = Connection.infer

    async def always_refused(self, request):
        nonlocal asked
        if not any(request.raw_input_contents[0]):  # a probe's zeros
            return await plain(self, request)
        asked += 1
        raise grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), "no")

    monkeypatch.setattr(Connection, "infer", always_refused)
    with pytest.raises(InternalError):
        await remote.infer("one", {"image": PIXELS})
    assert asked == 3


async def test_one_that_was_away_for_long_is_found_again(repository: Path, tmp_path: Path):
    address = tmp_path / "s"
    patience = Patience(start_s=0.5, load_s=1, heal_s=4, restarts=1)
    supervisor = Supervisor(RemoteHost(f"unix:{address}"), InlineTransport(), repository, patience)
    inference = TritonInference(supervisor, InlineTransport())
    await supervisor.start(patient=True)  # it is away at first, too
    try:
        for _ in range(2):
            async with asyncio.timeout(30):
                for _ in range(2):
                    with pytest.raises(InferenceUnavailable):
                        await inference.ready(["one"])
                async with running(repository, ["one"]) as stack:
                    address.symlink_to(stack.server.endpoint.target.removeprefix("unix:"))
                    await _once_it_is_back(inference)
                    np.testing.assert_array_equal(
                        (await inference.infer("one", {"image": PIXELS}))["sums"],
                        PIXELS.sum((1, 2), dtype=np.float32),
                    )
                address.unlink()
                with pytest.raises(InferenceUnavailable):
                    await inference.infer("one", {"image": PIXELS})
    finally:
        await supervisor.stop()


async def _once_it_is_back(inference: TritonInference) -> None:
    while True:
        with suppress(InferenceUnavailable):
            return await inference.ready(["one"])


async def test_a_dead_stub_over_there_is_waited_for(remote: TritonInference, stack: Stack):
    """Its own supervisor mends it; ours only has to be patient."""
    for stub in stack.host.stubs("one"):
        kill(stub.pid)
    outputs = await remote.infer("one", {"image": PIXELS})
    np.testing.assert_array_equal(outputs["sums"], PIXELS.sum((1, 2), dtype=np.float32))


@pytest.fixture
async def sharing(stack: Stack, repository: Path) -> AsyncIterator[tuple[TritonInference, Arena, Connection]]:
    """The same server, which may map our memory: a service of its own, with arenas of its own."""
    with Arena(1 << 20) as arena, Arena(1 << 20) as scratch:
        transport = SharedMemoryTransport(scratch)
        host = RemoteHost(stack.server.endpoint.target, [arena, scratch], stack.server.endpoint.header)
        supervisor = Supervisor(host, transport, repository, Patience(load_s=2, heal_s=8, probe_period_s=0.5))
        await supervisor.start()
        inference = TritonInference(supervisor, transport)
        await inference.ready(["one"])
        watching = Connection(stack.server.endpoint)
        assert {arena.name, scratch.name} <= set(await watching.regions())
        yield inference, arena, watching
        await supervisor.stop()
        assert not {arena.name, scratch.name} & set(await watching.regions()), "it lets go of our memory"
        await watching.close()


async def test_on_one_host_no_pixel_is_copied(sharing: tuple[TritonInference, Arena, Connection], sizes: list[int]):
    inference, arena, _ = sharing
    with await arena.allocate(PIXELS.nbytes) as slot:
        slot.array(PIXELS.shape)[...] = PIXELS
        outputs = await inference.infer("one", {"image": slot})
    np.testing.assert_array_equal(outputs["sums"], PIXELS.sum((1, 2), dtype=np.float32))
    assert max(sizes) < 1000


async def test_what_the_dead_left_registered_is_let_go(
    sharing: tuple[TritonInference, Arena, Connection], stack: Stack, repository: Path
):
    _, arena, watching = sharing
    dead = Arena(4096)
    await watching.register(dead)
    dead.close()
    assert dead.name in await watching.regions()
    await RemoteHost(stack.server.endpoint.target, [arena]).prepare(watching)
    known = await watching.regions()
    assert dead.name not in known
    assert arena.name in known

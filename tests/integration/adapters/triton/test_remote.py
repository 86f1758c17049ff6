"""A Triton that someone else runs: the same answers, inline, and patience while it is away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator.adapters.triton.client import TritonInference
from orchestrator.adapters.triton.connection import Connection
from orchestrator.adapters.triton.hosts import RemoteHost
from orchestrator.adapters.triton.supervisor import Patience, Supervisor
from orchestrator.adapters.triton.transport import InlineTransport
from orchestrator.errors import InferenceUnavailable
from tests.integration.adapters.triton.conftest import BATCH, SIDE, Stack, kill

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


async def test_the_answers_are_the_same(remote: TritonInference):
    outputs = await remote.infer("one", {"image": PIXELS})
    np.testing.assert_array_equal(outputs["sums"], PIXELS.sum((1, 2), dtype=np.float32))
    assert remote.batch("one") == BATCH
    assert remote.version("one").version == "1"


async def test_a_slot_travels_inline(remote: TritonInference, stack: Stack, monkeypatch: pytest.MonkeyPatch):
    sizes = []
    plain = Connection.infer

    async def spied(self, request):
        sizes.append(request.ByteSize())
        return await plain(self, request)

    monkeypatch.setattr(Connection, "infer", spied)
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


async def test_a_dead_stub_over_there_is_waited_for(remote: TritonInference, stack: Stack):
    """Its own supervisor mends it; ours only has to be patient."""
    for stub in stack.host.stubs("one"):
        kill(stub.pid)
    outputs = await remote.infer("one", {"image": PIXELS})
    np.testing.assert_array_equal(outputs["sums"], PIXELS.sum((1, 2), dtype=np.float32))

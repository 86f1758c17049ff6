"""Processes are killed in the midst of an analysis: it ends as if nothing had happened, and so does the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orchestrator.api.client import AnalysisOptions, ReelsiftClient
from tests.acceptance.answers import Answer, assert_same, collect
from tests.acceptance.server import Server
from tests.conftest import Film
from tests.media.pathology import GOOD

OPTIONS = AnalysisOptions(analyzers=("shots", "labels", "objects"), ignore_known=True)

_unharmed: list[Answer] = []  # the composite when nobody is killed, once for all tests here


async def unharmed(client: ReelsiftClient, composite: Film) -> Answer:
    if not _unharmed:
        _unharmed.append(await collect(client.analyze_file(composite.path, OPTIONS)))
    return _unharmed[0]


def stub(server: Server) -> list[psutil.Process]:
    return server.stubs("objects")


def triton(server: Server) -> list[psutil.Process]:
    return [server.tritonserver()]


def decoder(server: Server) -> list[psutil.Process]:
    return server.busy_decoders()


def decoder_deaths(server: Server) -> int:
    return sum(event["event"] == "decoder.died" for event in server.events())


async def held(data: bytes, killed: list[psutil.Process]) -> AsyncIterator[bytes]:
    """The film, its second half only after the kill: a decoder is ahead of the analyzers, and is to be caught at work."""
    yield data[: len(data) // 2]
    while not killed:
        await asyncio.sleep(0.01)
    yield data[len(data) // 2 :]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victims", [stub, triton, decoder])
async def test_an_analysis_survives_the_kill(
    server: Server,
    client: ReelsiftClient,
    composite: Film,
    tmp_path: Path,
    victims: Callable[[Server], list[psutil.Process]],
) -> None:
    baseline = await unharmed(client, composite)
    stubs = {model: len(server.stubs(model)) for model in OPTIONS.analyzers}  # each of them is named as its model
    answer = Answer()
    killed: list[psutil.Process] = []
    deaths = decoder_deaths(server)
    if victims is decoder:
        responses = client.analyze_stream(
            held(composite.path.read_bytes(), killed), OPTIONS, content_length=composite.nbytes
        )
    else:
        responses = client.analyze_file(composite.path, OPTIONS)
    async for response in responses:
        answer.add(response)
        if response.HasField("segment") and not killed:
            killed += victims(server)
            assert len(killed) == 1
            for process in killed:
                process.kill()
    assert len(answer.segments) > 3, "the kill was to come in the midst"
    assert not [process for process in killed if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert_same(answer, baseline)
    assert not answer.finished.partial
    ledger = answer.finished.ledger
    assert ledger.expected_frames == ledger.decoded_frames == composite.truth.frames
    assert decoder_deaths(server) - deaths == (victims is decoder)
    assert victims is decoder or not ledger.redecoded_frames
    await assert_healthy(server, client, tmp_path)
    assert {model: len(server.stubs(model)) for model in stubs} == stubs


async def assert_healthy(server: Server, client: ReelsiftClient, folder: Path) -> None:
    assert server.alive
    async with grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        said = await health.Check(health_pb2.HealthCheckRequest(service="reelsift.v1.AnalysisService"))
    assert said.status == health_pb2.HealthCheckResponse.SERVING
    answer = await collect(client.analyze_file(GOOD.build(folder), OPTIONS))
    assert not GOOD.expect.mismatch(frames=answer.finished.ledger.decoded_frames, partial=answer.finished.partial)

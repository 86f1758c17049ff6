"""A real service under an operator's hands: settings change under a stream, a decoder stands still, maintenance outlives a restart."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orchestrator.api.client import AnalysisOptions, ClientError, connect
from tests.acceptance.answers import Answer, assert_same, collect
from tests.acceptance.server import Server
from tests.conftest import Film
from tests.media.pathology import GOOD

OPTIONS = AnalysisOptions(analyzers=("shots", "labels"), ignore_known=True)
STUCK = 6.0
BASIS = f"stuck_seconds = {STUCK}\n"

_undisturbed: list[Answer] = []


@pytest.fixture(scope="module")
def config() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="operated-") as folder:
        path = Path(folder, "reelsift.toml")
        path.write_text(BASIS)
        yield path


@pytest.fixture(scope="module")
def operated(config: Path) -> Iterator[Server]:
    running = Server({"REELSIFT_CONFIG": str(config)})
    try:
        yield running
    finally:
        running.stop()


async def undisturbed(server: Server, composite: Film) -> Answer:
    if not _undisturbed:
        async with connect(server.address) as client:
            _undisturbed.append(await collect(client.analyze_file(composite.path, OPTIONS)))
    return _undisturbed[0]


def change(config: Path, text: str) -> None:
    """As an editor does: the file is never half there."""
    incoming = config.with_suffix(".incoming")
    incoming.write_text(text)
    incoming.replace(config)


def said(server: Server, event: str) -> list[dict[str, object]]:
    return [each for each in server.events() if each["event"] == event]


async def heard(server: Server, event: str, count: int) -> dict[str, object]:
    async with asyncio.timeout(10):
        while len(found := said(server, event)) < count:
            await asyncio.sleep(0.02)
    return found[-1]


async def test_settings_change_and_a_stream_under_way_does_not_notice(
    operated: Server, config: Path, composite: Film
) -> None:
    expected, before = await undisturbed(operated, composite), BASIS
    answer, steps = Answer(), 0
    async with connect(operated.address) as client:
        async for response in client.analyze_file(composite.path, OPTIONS, bytes_per_second=composite.nbytes / 6):
            answer.add(response)
            if response.HasField("segment"):
                steps += 1
            if not response.HasField("segment"):
                continue
            if steps == 1:
                change(config, f'{before}max_waiting = 3\nlog_level = "debug"\nroots = ["{composite.path.parent}"]\n')
                operated.signal(signal.SIGHUP)
                reloaded = await heard(operated, "settings.reloaded", 1)
                assert reloaded["names"] == ["log_level", "max_waiting", "roots"]
            elif steps == 2:
                change(config, f"{before}max_waiting = 1\narena_bytes = 1000000\n")
                operated.signal(signal.SIGHUP)
                refused = await heard(operated, "settings.refused", 1)
                assert "arena_bytes" in str(refused["message"])
                change(config, "max_running = = 3")
                operated.signal(signal.SIGHUP)
                assert "no TOML" in str((await heard(operated, "settings.refused", 2))["message"])
        # What is in force: the new root, and the level of the log.
        there = await collect(client.analyze_path(str(composite.path), OPTIONS))
    assert steps > 3, "it was to be under way"
    assert_same(answer, expected)
    assert_same(there, expected)
    ready(operated)
    assert any(each["level"] == "debug" for each in operated.events())
    change(config, before)
    operated.signal(signal.SIGHUP)
    await heard(operated, "settings.reloaded", 2)
    quiet = len([each for each in operated.events() if each["level"] == "debug"])
    ready(operated)
    assert len([each for each in operated.events() if each["level"] == "debug"]) == quiet


async def test_a_decoder_that_stands_still_is_found_and_the_analysis_goes_on_from_its_last_segment(
    operated: Server, composite: Film
) -> None:
    expected, stopped = await undisturbed(operated, composite), list[int]()
    data, cut = composite.path.read_bytes(), composite.nbytes // 2

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:cut]
        while not stopped:
            await asyncio.sleep(0.01)
        yield data[cut:]

    answer = Answer()
    began = time.monotonic()
    async with connect(operated.address) as client:
        async for response in client.analyze_stream(pieces(), OPTIONS, content_length=composite.nbytes):
            answer.add(response)
            if response.HasField("segment") and not stopped:
                (worker,) = operated.busy_decoders()
                worker.send_signal(signal.SIGSTOP)
                stopped.append(worker.pid)
        analysis = await client.get(answer.analysis_id)
    assert_same(answer, expected)
    assert analysis.attempt_count == 2
    (stuck,) = said(operated, "session.stuck")
    assert (stuck["analysis_id"], stuck["seconds"]) == (answer.analysis_id, STUCK)
    assert time.monotonic() - began < 60
    operated.idle(within=20)


@pytest.mark.timeout(120)
async def test_a_server_that_starts_in_maintenance_says_so_and_serves_nobody(tmp_path: Path) -> None:
    (tmp_path / "maintenance.json").write_text('{"who": "olga", "why": "a new disk"}')
    server = Server({"REELSIFT_DATA_DIR": str(tmp_path)})
    try:
        assert not ready(server)
        assert live(server)
        async with grpc.aio.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for service in ("", "reelsift.v1.AnalysisService"):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        async with connect(server.address) as client:
            with pytest.raises(ClientError) as caught:
                await client.create(OPTIONS.config(path=str(GOOD.build(tmp_path))))
            assert caught.value.reason == "MAINTENANCE"
        (goes_on,) = said(server, "maintenance.goes_on")
        assert (goes_on["who"], goes_on["why"]) == ("olga", "a new disk")
    finally:
        server.stop()


def ready(server: Server) -> bool:
    """/readyz."""
    answer = probe(server, "readyz")
    assert json.loads(answer.text)["ready"] == (answer.status_code == 200)
    return answer.status_code == 200


def live(server: Server) -> bool:
    """/healthz."""
    return probe(server, "healthz").status_code == 200


def probe(server: Server, what: str) -> httpx.Response:
    path = server.address.removeprefix("unix:").removesuffix("api") + "http"
    with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
        return client.get(f"http://reelsift/{what}")

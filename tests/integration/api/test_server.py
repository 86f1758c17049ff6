"""Health, reflection, the access log and the server's end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from orchestrator.api.client import ClientError, connect
from orchestrator.api.server import SEARCH_SERVICE, SERVICE, grpc_server
from orchestrator.errors import SetupError

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_says_not_serving_once_it_drains(run, fake) -> None:
    async with run(fake()) as running:
        stub = health_pb2_grpc.HealthStub(running.channel)
        for service in ("", SERVICE, SEARCH_SERVICE):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING
        await running.server.drain()
        for service in ("", SERVICE, SEARCH_SERVICE):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_service(run, fake) -> None:
    async with run(fake()) as running:
        stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {service.name for service in (await call.read()).list_services_response.service}
    assert {SERVICE, SEARCH_SERVICE, "grpc.health.v1.Health"} <= names


async def test_an_unknown_method_is_unimplemented(run, fake) -> None:
    async with run(fake()) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.channel.unary_unary("/reelsift.v1.AnalysisService/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_each_call_is_logged_once(run, fake) -> None:
    with structlog.testing.capture_logs() as logs:
        async with run(fake()) as running:
            _ = [response async for response in running.client.analyze_path("/allowed/clip")]
            with pytest.raises(ClientError):
                await running.client.cancel("nobody")
    calls = [entry for entry in logs if entry["event"] == "grpc.call"]
    assert [(call["method"].rsplit("/")[-1], call["analysis_id"], call["code"], call["reason"]) for call in calls] == [
        ("Analyze", "a-1", "OK", ""),
        ("CancelAnalysis", "nobody", "NOT_FOUND", "NOT_FOUND"),
    ]
    assert all(call["duration_ms"] > 0 for call in calls)


async def test_stopping_waits_for_running_calls_and_then_cancels_them(run, fake, events) -> None:
    analyses = fake(script=(events["started"],))
    async with run(analyses) as running:
        responses = running.client.analyze_path("/allowed/clip")
        await anext(responses)
        stopping = asyncio.create_task(running.server.stop(0.2))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        await stopping
        await responses.aclose()
    assert analyses.cancelled == [], "the analysis goes on with the next server"


async def test_a_taken_address_is_a_setup_error(fake) -> None:
    async with grpc_server(fake(), "127.0.0.1:0", grace=0) as server:
        assert not server.address.endswith(":0")
        async with connect(server.address) as client:
            assert [response.sequence async for response in client.analyze_path("/allowed/clip")] == [1, 2, 3]
        with pytest.raises(SetupError):
            async with grpc_server(fake(), server.address):
                pass


async def test_a_socket_left_by_a_dead_server_is_replaced(fake, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 's'}"
    for _ in range(2):
        async with grpc_server(fake(), address, grace=0), connect(address) as client:
            assert [response.sequence async for response in client.analyze_path("/allowed/clip")] == [1, 2, 3]


async def test_a_missing_server_is_a_client_error(tmp_path: Path) -> None:
    async with connect(f"unix:{tmp_path / 'nothing'}") as client:
        with pytest.raises(ClientError) as caught:
            _ = [response async for response in client.watch("a-1")]
    assert caught.value.grpc_code == "UNAVAILABLE"


async def test_a_file_is_uploaded_as_it_is(run, fake, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(bytes(range(256)) * 4000)
    analyses = fake()
    async with run(analyses) as running:
        _ = [response async for response in running.client.analyze_file(path, chunk_bytes=70_001)]
        assert analyses.uploads[0].data == path.read_bytes()


async def test_a_file_that_cannot_be_read_is_the_clients_own_error(run, fake, tmp_path: Path) -> None:
    analyses = fake()
    async with run(analyses) as running:
        with pytest.raises(FileNotFoundError):
            _ = [response async for response in running.client.analyze_file(tmp_path / "missing")]
    assert not any(upload.complete for upload in analyses.uploads)


async def test_an_upload_can_be_throttled(run, fake, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(bytes(100_000))
    analyses = fake()
    async with run(analyses) as running:
        loop = asyncio.get_running_loop()
        began = loop.time()
        _ = [r async for r in running.client.analyze_file(path, bytes_per_second=200_000)]
        assert 0.45 <= loop.time() - began < 2.0
    assert analyses.uploads[0].appends >= 5  # in small pieces, so that analysis begins early

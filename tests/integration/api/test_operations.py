"""OperationsService through the client, over a real gRPC server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from orchestrator.api import messages as pb
from orchestrator.api.client import ClientError, Patience, connect
from orchestrator.api.server import grpc_server
from orchestrator.errors import Draining, InvalidRequest, StoreUnavailable
from tests.support.operations import FakeOperations

ME = {"who": "me@here", "why": "to see"}


async def test_how_it_is_and_was(run, fake) -> None:
    async with run(fake()) as running:
        operations = running.client.operations
        health = await operations.health()
        assert health.status == pb.HealthStatus.HEALTH_STATUS_CRITICAL
        assert [each.component for each in health.components] == sorted(each.component for each in health.components)
        status = await operations.status()
        assert (status.server, status.accepting, status.versions["triton"]) == ("video-1", True, "2.59.0")
        assert [each.name for each in status.capabilities if not each.ready] == ["shots"]
        day, part = await operations.stats(), await operations.stats(6, profile="thorough")
        assert (day.hours, day.succeeded_count, part.succeeded_count) == (24, 472, 118)
        assert part.realtime_factor.mean > day.realtime_factor.mean
        samples = await operations.samples(1)
        assert (len(samples), samples[-1].values["places"]) == (60, 4.0)
        assert not await operations.samples(1, server="another")


async def test_the_days_before(run, fake) -> None:
    async with run(fake()) as running:
        running.operations.scale = lambda until: 2.0 if until < datetime(2026, 1, 1, tzinfo=UTC) else 1.0
        operations = running.client.operations
        old = await operations.stats(24, until=datetime(2025, 12, 31, tzinfo=UTC))
        assert old.succeeded_count > 1.9 * (await operations.stats(24)).succeeded_count


async def test_sessions_are_listed_and_ended(run, fake) -> None:
    async with run(fake()) as running:
        operations = running.client.operations
        assert [(each.analysis_id, each.stuck) for each in await operations.sessions()] == [
            ("a-2", True),
            ("a-1", False),
            ("a-3", False),
        ]
        ended = await operations.terminate("a-2", **ME)
        assert (ended.state, ended.segment_count) == (pb.AnalysisState.ANALYSIS_STATE_CANCELLED, 7)
        assert len(await operations.sessions()) == 2
        with pytest.raises(ClientError) as caught:
            await operations.terminate("a-2", **ME)
        assert caught.value.reason == "NOT_FOUND"


async def test_alerts_and_silences(run, fake) -> None:
    async with run(fake()) as running:
        operations = running.client.operations
        alerts = await operations.alerts()
        assert [each.alert_id for each in alerts] == ["l-4", "l-2", "l-3", "l-1"]
        critical = pb.ListAlertsRequest(level=pb.AlertLevel.ALERT_LEVEL_CRITICAL, open=True)
        assert [each.component for each in await operations.alerts(critical)] == ["model/shots"]
        assert len(await operations.alerts(pb.ListAlertsRequest(limit=2))) == 2
        assert len(await operations.alerts(pb.ListAlertsRequest(component="*/*"))) == 2
        made = await operations.silence("model/*", 3600, **ME)
        assert made.until.ToDatetime(UTC) - running.operations.now == timedelta(hours=1)
        assert [each.pattern for each in await operations.silences()] == ["disk/*", "model/*"]
        await operations.end_silence(made.silence_id)
        assert [each.pattern for each in await operations.silences()] == ["disk/*"]


async def test_a_server_is_steered(run, fake) -> None:
    async with run(fake()) as running:
        operations = running.client.operations
        status = await operations.set_maintenance(True, **ME)
        assert (status.accepting, status.maintenance, status.HasField("maintenance_since")) == (False, "to see", True)
        assert (await operations.set_maintenance(False, who="me@here")).accepting
        assert list(await operations.reload(who="me@here")) == ["log_level", "limits.disk.warning"]
        running.operations.refusal = InvalidRequest("listen can only change with a restart")
        with pytest.raises(ClientError, match="restart"):
            await operations.reload(who="me@here")
        running.operations.refusal = None
        would = await operations.clean_up(dry_run=True, **ME)
        assert [each.name for each in would.removals] == ["u-1"]
        assert await operations.clean_up(**ME) == would
        assert (await operations.clean_up(**ME)).removed_count == 0
        await operations.drain(**ME)
        assert running.operations.done[-1] == ("drain", "me@here", "to see")


async def test_a_drain_that_fails_is_not_asked_for_again(run, fake) -> None:
    """When its answer is lost, the server's successor would end, too. A question is asked again for the same error."""
    async with run(fake()) as running:
        operations, asked = running.client.operations, []

        def unavailable(what: str) -> Any:
            def once(*_: Any, **how: str) -> Any:
                asked.append(what)
                if asked.count(what) == 1:
                    raise Draining("not now")
                return FakeOperations().status()

            return once

        running.operations.drain = unavailable("drain")
        running.operations.status = unavailable("status")
        with pytest.raises(ClientError, match="not now"):
            await operations.drain(**ME)
        assert (await operations.status()).server
        assert asked == ["drain", "status", "status"]


async def test_questions_are_asked_again_when_the_server_restarts(run, fake) -> None:
    async with run(fake()) as running:
        operations = running.client.operations
        await operations.status()
        await running.stop()
        asking = asyncio.create_task(operations.health())
        await asyncio.sleep(0.05)
        await running.start()
        assert (await asking).server == "video-1"


async def test_errors_keep_their_reason(run, fake) -> None:
    async with run(fake()) as running, connect(running.address, Patience(0)) as client:
        running.operations.refusal = StoreUnavailable("the database does not answer")
        with pytest.raises(ClientError) as caught:
            await client.operations.sessions()
        assert (caught.value.reason, caught.value.grpc_code) == ("STORE_UNAVAILABLE", "UNAVAILABLE")
        assert (await client.operations.health()).server, "which needs no store"


async def test_without_an_account_there_is_a_typed_answer(fake, tmp_path) -> None:
    address = f"unix:{tmp_path / 's'}"
    async with grpc_server(fake(), address, grace=0), connect(address) as client:
        with pytest.raises(ClientError) as caught:
            await client.operations.health()
        assert (caught.value.reason, caught.value.grpc_code) == ("NOT_WATCHED", "FAILED_PRECONDITION")


async def test_it_can_be_looked_up(run, fake) -> None:
    async with run(fake()) as running:
        health = running.channel.unary_unary("/grpc.health.v1.Health/Check")
        name = b"reelsift.v1.OperationsService"
        assert await health(b"\n" + bytes([len(name)]) + name) == b"\x08\x01"
        assert isinstance(running.channel, grpc.aio.Channel)
        stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        async for answer in call:
            assert name.decode() in {each.name for each in answer.list_services_response.service}

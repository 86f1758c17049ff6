"""A call is part of its client's trace, and is counted, whatever comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator import tracing
from orchestrator.api.client import ClientError, ReelsiftClient, connect
from orchestrator.api.server import grpc_server
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.tracing import Kind
from tests.integration.api.conftest import FakeAnalyses
from tests.support.tracing import THEIRS, Notes


class Heard(Telemetry):
    """Keeps what it hears of calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str, bool]] = []
        self.running = self.most = 0

    def calling(self, transport: str, change: int) -> None:
        self.running += change
        self.most = max(self.most, self.running)

    def called(self, transport: str, method: str, code: str, seconds: float | None) -> None:
        self.calls.append((transport, method, code, seconds is not None))


@asynccontextmanager
async def serving(heard: Heard) -> AsyncIterator[ReelsiftClient]:
    async with (
        grpc_server(FakeAnalyses(), "127.0.0.1:0", telemetry=heard) as server,
        connect(server.address) as client,
    ):
        yield client


async def test_calls_are_counted_by_method_and_code() -> None:
    heard = Heard()
    async with serving(heard) as client:
        with pytest.raises(ClientError):
            await client.get("0" * 32)
        async for _ in client.analyze_path("/allowed/film.mp4"):
            pass
    assert heard.calls == [("grpc", "GetAnalysis", "NOT_FOUND", True), ("grpc", "Analyze", "OK", False)]
    assert (heard.running, heard.most) == (0, 1)


async def test_a_call_goes_on_with_its_clients_trace() -> None:
    async with serving(Heard()) as client:
        with tracing.installed(notes := Notes()), tracing.span("client", Kind.CLIENT), pytest.raises(ClientError):
            await client.get("0" * 32)
        client_span, call = notes.spans
        assert (call.name, call.kind, call.parent) == ("grpc GetAnalysis", Kind.SERVER, client_span.traceparent)
        assert call.failure == "NOT_FOUND"
        assert call.ended


async def test_what_a_client_says_of_its_trace_need_not_be_one() -> None:
    async with serving(Heard()) as client:
        with tracing.installed(notes := Notes()):
            for said in ("", "nonsense", THEIRS):
                with pytest.raises(Exception, match="analysis"):
                    await client._stub.GetAnalysis(_request(), metadata=(("traceparent", said),))
        assert [span.parent for span in notes.spans] == ["", "", THEIRS]


def _request() -> object:
    from orchestrator.api import messages as pb

    return pb.GetAnalysisRequest(analysis_id="0" * 32)

"""One of sixteen requests of a model is a span, which Triton is told; every one is counted."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import structlog
from tritonclient.grpc import service_pb2, service_pb2_grpc

from orchestrator import tracing
from orchestrator.adapters.triton.asking import ask
from orchestrator.adapters.triton.connection import Connection
from orchestrator.adapters.triton.contract import ModelContract, TensorSpec
from orchestrator.adapters.triton.hosts import RemoteHost
from orchestrator.adapters.triton.model import Model
from orchestrator.adapters.triton.server import Endpoint
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import Call, InlineTransport
from orchestrator.pipeline.telemetry import Telemetry
from tests.support.tracing import Notes

PAIR = TensorSpec("pair", "UINT8", np.dtype(np.uint8), (2,))
CONTRACT = ModelContract("labels.2", "2", 0, 1, {"pair": PAIR}, {"same": PAIR})


class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers with what it is given, unless it is to refuse; keeps who traces."""

    def __init__(self) -> None:
        self.refuse: grpc.StatusCode | None = None
        self.traced: list[str] = []

    async def ModelInfer(  # noqa: N802
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service_pb2.ModelInferResponse:
        metadata = dict(context.invocation_metadata() or ())
        self.traced.append(str(metadata.get("traceparent", "")))
        if self.refuse is not None:
            await context.abort(self.refuse, "no")
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name="same", datatype="UINT8", shape=[2])
        response.raw_output_contents.append(request.raw_input_contents[0])
        return response


class Heard(Telemetry):
    """Counts outcomes."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def inferred(self, model: str, outcome: str, seconds: float) -> None:
        self.outcomes[model, outcome] += 1
        assert 0 < seconds < 10


class Bench:
    """A supervisor, and a connection to the double above."""

    def __init__(self, triton: Triton, connection: Connection) -> None:
        self.triton, self.connection, self.heard = triton, connection, Heard()
        self.supervisor = Supervisor(RemoteHost("nowhere:1"), InlineTransport(), Path("nowhere"), telemetry=self.heard)
        self.model = Model(CONTRACT.name, contract=CONTRACT)

    async def ask(self) -> None:
        call = Call.check(CONTRACT, {"pair": np.array([1, 2], np.uint8)})
        said = await ask(self.supervisor, InlineTransport(), self.model, self.connection, call, 10.0, lambda: None)
        assert said["same"].tolist() == [1, 2]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    server, triton = grpc.aio.server(), Triton()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    with tempfile.TemporaryDirectory() as folder:
        server.add_insecure_port(f"unix:{folder}/triton")
        await server.start()
        connection = Connection(Endpoint(f"unix:{folder}/triton"))
        yield Bench(triton, connection)
        await connection.close()
        await server.stop(None)


async def test_one_of_sixteen_requests_is_a_span_and_goes_on_in_triton(bench: Bench) -> None:
    with tracing.installed(notes := Notes()), tracing.span("attempt"):
        for _ in range(33):
            await bench.ask()
    spans = [span for span in notes.spans if span.name == "inference"]
    assert [span.parent for span in spans] == [notes.spans[0].traceparent] * 3
    assert spans[0].attributes == {"model": "labels.2", "attempt": 1}
    assert [told for told in bench.triton.traced if told] == [span.traceparent for span in spans]
    assert bench.triton.traced[1:16] == [""] * 15, "nor is Triton to trace them"
    assert bench.heard.outcomes == {("labels", "answered"): 33}


async def test_without_tracing_triton_is_told_nothing(bench: Bench) -> None:
    await bench.ask()
    assert bench.triton.traced == [""]


@pytest.mark.parametrize(
    ("code", "outcome"), [(grpc.StatusCode.UNAVAILABLE, "lost"), (grpc.StatusCode.INTERNAL, "refused")]
)
async def test_what_is_not_answered_is_counted_too(bench: Bench, code: grpc.StatusCode, outcome: str) -> None:
    bench.triton.refuse = code
    with tracing.installed(notes := Notes()), pytest.raises(grpc.RpcError):
        await bench.ask()
    assert notes.spans[0].failure
    assert bench.heard.outcomes == {("labels", outcome): 1}


async def test_what_the_supervisor_does_is_no_analysis_own(bench: Bench) -> None:
    """A model that is loaded for one analysis lives on, and what befalls it later has nothing to do with that analysis."""
    seen: list[tuple[object, str]] = []

    async def work() -> None:
        seen.append((structlog.contextvars.get_contextvars(), tracing.traceparent()))

    with (
        structlog.contextvars.bound_contextvars(analysis_id="one"),
        tracing.installed(Notes()),
        tracing.span("attempt"),
    ):
        bench.supervisor._spawn(work())
        await asyncio.gather(*bench.supervisor._tasks)
    assert seen == [({}, "")]

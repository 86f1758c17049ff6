"""The client's reading of how a call ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import grpc

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError, connect

CALLS = 200  # grpc.aio hides the true status of about one such call in twenty


async def deaf(request_iterator: AsyncIterator[pb.AnalyzeRequest], _: object) -> AsyncIterator[pb.AnalyzeResponse]:
    async for _ in request_iterator:
        pass
    yield pb.AnalyzeResponse()


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 4096


async def test_a_write_that_meets_the_deadline_hides_nothing() -> None:
    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(
        deaf, pb.AnalyzeRequest.FromString, pb.AnalyzeResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("reelsift.v1.AnalysisService", {"Analyze": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    seen = Counter[str]()
    async with connect(f"127.0.0.1:{port}") as client:
        for _ in range(CALLS):
            try:
                async for _ in client.analyze_stream(endless(), AnalysisOptions(timeout=0.02)):
                    pass
            except ClientError as error:
                seen[error.reason] += 1
    await server.stop(None)
    assert seen == {"DEADLINE_EXCEEDED": CALLS}

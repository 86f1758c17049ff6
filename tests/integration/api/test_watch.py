"""WatchAnalysis, and readers of all kinds, over a real gRPC server with a scripted service behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError
from orchestrator.core.media import Ledger
from orchestrator.core.results import Progress
from tests.support.calls import UPLOAD, chunk, kinds, refusal, requests, settled


async def test_a_slow_reader_does_not_hold_the_analysis(run, fake, events) -> None:
    """Nobody reads 20,000 responses, and the upload is taken and the log written all the same."""
    analyses = fake(script=(events["started"],))
    progress = Progress(1, 1, Ledger(), None)
    async with run(analyses) as running:
        sent = [*(chunk(n << 18, bytes(1 << 18)) for n in range(32)), chunk(32 << 18, last=True)]
        call = running.stub.Analyze(requests([UPLOAD, *sent]))
        await settled(lambda: bool(analyses.uploads and analyses.uploads[0].complete))
        analyses.extend(*[progress] * 20_000, events["finished"])
        await asyncio.sleep(0.2)
        assert len(analyses.log) == 20_002
        got = [sequence for _, sequence in await kinds(call) if sequence]
    assert got == list(range(1, 20_003))


async def test_an_error_reaches_a_client_that_reads_late(run, fake, events) -> None:
    """Its window is full when the upload is refused: the write that waits must not hide the status."""
    analyses = fake(script=())
    refused = asyncio.Event()

    async def late() -> AsyncIterator[pb.AnalyzeRequest]:
        yield UPLOAD
        await refused.wait()
        yield chunk(9, b"a gap")

    async with run(analyses) as running:
        call = running.stub.Analyze(late())
        await settled(lambda: bool(analyses.uploads))
        analyses.extend(events["started"], *[Progress(1, 1, Ledger(), None)] * 20_000)
        await asyncio.sleep(0.2)
        refused.set()
        await settled(lambda: analyses.uploads[0].writers[0].closed)
        error = await refusal(call)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_watching_goes_on_after_a_sequence(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        whole = [response async for response in running.client.analyze_path("/allowed/clip")]
        rest = [response async for response in running.client.watch("a-1", 1)]
        assert await kinds(running.client.watch("a-1", 3)) == []
        assert [response.sequence for response in rest] == [2, 3]
        assert rest[0].segment == whole[1].segment, "its clock is that of Started, which was not asked for"
        with pytest.raises(ClientError) as caught:
            await kinds(running.client.watch("nobody"))
    assert caught.value.reason == "NOT_FOUND"


async def test_a_watcher_ahead_of_the_start_knows_the_time(run, fake, events) -> None:
    analyses = fake(script=())
    async with run(analyses) as running:
        await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        watching = asyncio.create_task(kinds(running.client.watch("a-1", 1)))
        await settled(lambda: analyses.reads == [1])
        analyses.extend(events["started"], events["segment"], events["finished"])
        assert await watching == [("segment", 2), ("finished", 3)]


async def test_progress_has_no_place_in_the_log(run, fake, events) -> None:
    analyses = fake(script=(events["started"],), progress=Progress(1, 1, Ledger(), None))
    async with run(analyses) as running:
        responses = running.client.analyze_path("/allowed/clip")
        assert [(await anext(responses)).sequence, (await anext(responses)).sequence] == [1, 0]
        analyses.extend(events["finished"])
        assert (await kinds(responses))[-1] == ("finished", 2)

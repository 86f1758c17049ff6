"""Uploads through Analyze over a real gRPC server, with a scripted service behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from orchestrator.api import messages as pb
from orchestrator.core.results import Failed
from orchestrator.errors import FailedPrecondition
from tests.support.calls import UPLOAD, chunk, kinds, refusal, requests, settled


async def test_an_upload_is_stored_acknowledged_and_analysed(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        call = running.stub.Analyze(requests([UPLOAD, chunk(0, b"abc"), chunk(3, b"def", last=True)]))
        responses = [response async for response in call]
    assert analyses.uploads[0].data == b"abcdef"
    acknowledged = [response for response in responses if response.WhichOneof("event") == "upload_progress"]
    assert [response.upload_progress.committed_bytes for response in acknowledged][-1:] == [6]
    assert {response.sequence for response in acknowledged} == {0}
    assert [response.sequence for response in responses if response.sequence] == [1, 2, 3]


async def test_closing_the_clients_half_ends_an_upload_that_is_all_there(run, fake) -> None:
    analyses = fake()
    announced = pb.AnalyzeRequest(config=pb.AnalysisConfig(upload=pb.Upload(content_length=3)))
    async with run(analyses) as running:
        assert ("finished", 3) in await kinds(running.stub.Analyze(requests([announced, chunk(0, b"abc")])))
    assert analyses.uploads[0].complete


async def test_a_stored_chunk_is_ignored_and_a_gap_is_refused(run, fake) -> None:
    analyses = fake()
    sent = [UPLOAD, chunk(0, b"abcd"), chunk(0, b"ab"), chunk(2, b"cdef"), chunk(9, b"x")]
    async with run(analyses) as running:
        error = await refusal(running.stub.Analyze(requests(sent)))
    assert analyses.uploads[0].data == b"abcdef"
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    assert (info.reason, info.domain, info.metadata["expected_offset"]) == ("UPLOAD_OUT_OF_ORDER", "reelsift.dev", "6")
    assert analyses.cancelled == []
    assert analyses.uploads[0].state.committed == 6, "what came is kept"


@pytest.mark.parametrize("bound", [True, False])
async def test_a_refused_upload_ends_a_bound_analysis_alone(run, fake, bound: bool) -> None:
    analyses = fake()
    config = pb.AnalyzeRequest(config=pb.AnalysisConfig(upload=pb.Upload(), cancel_on_disconnect=bound))
    async with run(analyses) as running:
        await refusal(running.stub.Analyze(requests([config, chunk(9, b"x")])))
    assert analyses.specs[0].bound == bound
    assert analyses.cancelled == (["a-1"] if bound else [])


async def test_acknowledgements_come_at_most_every_quarter_second(run, fake) -> None:
    async def slowly() -> AsyncIterator[pb.AnalyzeRequest]:
        yield UPLOAD
        for offset in range(100):
            yield chunk(offset, b"x")
            await asyncio.sleep(0.01)
        yield chunk(100, last=True)

    analyses = fake()
    async with run(analyses) as running:
        began = time.monotonic()
        got = await kinds(running.stub.Analyze(slowly()))
        lasted = time.monotonic() - began
    acknowledgements = got.count(("upload_progress", 0))
    assert 2 <= acknowledgements <= lasted / 0.25 + 2
    assert 2 <= analyses.uploads[0].syncs <= lasted / 0.25 + 2


async def test_a_mebibyte_is_acknowledged_at_once(run, fake) -> None:
    async with run(fake()) as running:
        call = running.stub.Analyze(requests([UPLOAD, chunk(0, bytes(1 << 20))], hold=True))
        began = time.monotonic()
        assert (await call.read()).analysis_id == "a-1", "it is told at once, to go on by"
        first = await call.read()
        assert time.monotonic() - began < 0.2
        assert first.upload_progress.committed_bytes == 1 << 20
        call.cancel()


async def test_only_what_is_on_the_disk_is_acknowledged(run, fake) -> None:
    analyses = fake()
    syncing, synced, more = asyncio.Event(), asyncio.Event(), asyncio.Event()
    upload = analyses.upload

    async def open_slow(analysis_id: str):
        writer = await upload(analysis_id)
        sync = writer.sync

        async def slow():
            state = await sync()
            if not syncing.is_set():
                syncing.set()
                await synced.wait()
            return state

        writer.sync = slow
        return writer

    async def in_two() -> AsyncIterator[pb.AnalyzeRequest]:
        yield UPLOAD
        yield chunk(0, bytes(1 << 20))
        await more.wait()
        yield chunk(1 << 20, b"more")
        await asyncio.Event().wait()

    analyses.upload = open_slow
    async with run(analyses) as running:
        call = running.stub.Analyze(in_two())
        await call.read()
        first = asyncio.ensure_future(call.read())
        await syncing.wait()
        covered = analyses.uploads[0].state.committed
        more.set()
        await settled(lambda: analyses.uploads[0].committed == (1 << 20) + 4)  # the writing goes on meanwhile
        await asyncio.sleep(0.05)
        assert not first.done()
        synced.set()
        told = (await first).upload_progress.committed_bytes
        assert covered <= told <= analyses.uploads[0].state.committed
        call.cancel()


async def test_the_next_chunk_waits_for_the_one_before(run, fake) -> None:
    """Backpressure: with the first append held back, the client can only fill the transport's windows."""
    taken = 0

    async def counting() -> AsyncIterator[pb.AnalyzeRequest]:
        nonlocal taken
        yield UPLOAD
        for number in range(256):
            yield chunk(number << 18, bytes(1 << 18), last=number == 255)
            taken += 1

    analyses = fake(gated=True)
    async with run(analyses) as running:
        call = running.stub.Analyze(counting())
        await settled(lambda: bool(analyses.uploads and analyses.uploads[0].appends))
        await asyncio.sleep(0.3)
        assert analyses.uploads[0].appends == 1
        assert taken < 128
        analyses.uploads[0].gate.set()
        assert ("finished", 3) in await kinds(call)
    assert analyses.uploads[0].committed == 64 << 20


async def test_a_client_that_vanishes_during_its_upload_leaves_what_it_sent(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        call = running.stub.Analyze(requests([UPLOAD, chunk(0, b"abc"), chunk(3, bytes(1000))], hold=True))
        await settled(lambda: bool(analyses.uploads) and analyses.uploads[0].committed == 1003)
        call.cancel()
        await settled(lambda: analyses.uploads[0].writers[0].closed)
        assert analyses.uploads[0].state.committed == 1003, "synchronised, though nothing was due"
    assert not analyses.uploads[0].complete
    assert analyses.cancelled == []


@pytest.mark.parametrize("fails", [True, False])
async def test_an_analysis_that_ends_during_its_upload_has_the_last_word(run, fake, events, fails: bool) -> None:
    """It closes the upload, so the next chunk cannot be stored; that is not the client's answer."""
    analyses = fake()
    failed = Failed("UNSUPPORTED_FORMAT", "INVALID_ARGUMENT", "no video container", False)

    async def closed(offset: int, data: bytes) -> int:
        analyses.extend(events["started"], failed if fails else events["finished"])
        raise FailedPrecondition("the analysis has ended")

    upload = analyses.upload

    async def open_closed(analysis_id: str):
        writer = await upload(analysis_id)
        writer.append = closed
        return writer

    analyses.upload = open_closed
    async with run(analyses) as running:
        call = running.stub.Analyze(requests([UPLOAD, chunk(0, b"abc")], hold=True))
        if fails:
            error = await refusal(call)
            assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "no video container")
        else:
            assert [kind for kind in await kinds(call) if kind[1]] == [("started", 1), ("finished", 2)]


@pytest.mark.parametrize("operation", ["append", "sync"])
async def test_a_disk_that_fails_is_an_internal_error(run, fake, operation: str) -> None:
    analyses = fake()
    upload = analyses.upload

    async def broken(*_: object) -> int:
        raise OSError("input/output error")

    async def open_broken(analysis_id: str):
        writer = await upload(analysis_id)
        setattr(writer, operation, broken)
        return writer

    analyses.upload = open_broken
    async with run(analyses) as running:
        error = await refusal(running.stub.Analyze(requests([UPLOAD, chunk(0, b"abc")], hold=True)))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert analyses.cancelled == []

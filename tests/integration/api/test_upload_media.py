"""UploadMedia over a real gRPC server: an upload that goes on where it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions


def part(offset: int, data: bytes = b"", last: bool = False, analysis_id: str = "a-1") -> pb.UploadMediaRequest:
    return pb.UploadMediaRequest(analysis_id=analysis_id, chunk=pb.UploadChunk(offset=offset, data=data, last=last))


async def parts(messages: Sequence[pb.UploadMediaRequest], hold: bool = False) -> AsyncIterator[pb.UploadMediaRequest]:
    for message in messages:
        yield message
    if hold:
        await asyncio.Event().wait()


async def create(running, size: int | None = None) -> pb.Analysis:
    return (await running.client.create(AnalysisOptions().config(content_length=size))).analysis


async def refusal(call) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    return caught.value.code(), info


async def test_an_upload_in_several_calls(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        analysis = await create(running, 9)
        assert (analysis.state, analysis.upload.committed_bytes) == (pb.AnalysisState.ANALYSIS_STATE_QUEUED, 0)
        told = (await running.stub.UploadMedia(parts([part(0, b"abc"), part(3, b"d")]))).upload
        assert (told.committed_bytes, told.complete) == (4, False)
        assert (await running.client.get("a-1")).upload == told
        told = (await running.stub.UploadMedia(parts([part(2, b"cdef"), part(6, b"ghi"), part(9, last=True)]))).upload
        assert (told.committed_bytes, told.complete) == (9, True)
        told = (await running.stub.UploadMedia(parts([part(0, b"once more", last=True)]))).upload
        assert (told.committed_bytes, told.complete) == (9, True), "a lost answer is asked for again"
        assert (await running.client.get("a-1")).state == pb.AnalysisState.ANALYSIS_STATE_SUCCEEDED
    assert analyses.uploads[0].data == b"abcdefghi"
    assert all(writer.closed for writer in analyses.uploads[0].writers)


async def test_what_was_announced_completes_it_without_a_last_chunk(run, fake) -> None:
    async with run(fake()) as running:
        await create(running, 3)
        assert (await running.stub.UploadMedia(parts([part(0, b"abc")]))).upload.complete


async def test_an_upload_that_breaks_off_keeps_what_it_wrote(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        await create(running)
        call = running.stub.UploadMedia(parts([part(0, b"abc")], hold=True))
        while not analyses.uploads[0].committed:
            await asyncio.sleep(0.01)
        call.cancel()
        while not analyses.uploads[0].writers[0].closed:
            await asyncio.sleep(0.01)
        upload = (await running.client.get("a-1")).upload
        assert (upload.committed_bytes, upload.complete) == (3, False)


async def test_a_later_writer_takes_the_upload_over(run, fake) -> None:
    analyses = fake()
    second = asyncio.Event()

    async def slow() -> AsyncIterator[pb.UploadMediaRequest]:
        yield part(0, b"abc")
        await second.wait()
        yield part(3, b"lost")

    async with run(analyses) as running:
        await create(running)
        old = asyncio.ensure_future(refusal(running.stub.UploadMedia(slow())))
        while not analyses.uploads[0].state.committed:
            await asyncio.sleep(0.01)
        assert (await running.stub.UploadMedia(parts([part(3, b"def", last=True)]))).upload.complete
        second.set()
        code, info = await old
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_OUT_OF_ORDER")
    assert analyses.uploads[0].data == b"abcdef"


@pytest.mark.parametrize(
    ("messages", "code", "reason"),
    [
        ([], "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ([pb.UploadMediaRequest()], "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ([part(0, b"x", analysis_id="nobody")], "NOT_FOUND", "NOT_FOUND"),
        ([part(0, b"x", analysis_id="../../etc")], "NOT_FOUND", "NOT_FOUND"),
        ([part(0, b"x"), part(1, b"y", analysis_id="a-2")], "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ([part(-1, b"x")], "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ([part(0, b"12345")], "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ([part(0, b"123", last=True)], "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ([part(2, b"x")], "FAILED_PRECONDITION", "UPLOAD_OUT_OF_ORDER"),
    ],
    ids=["nothing", "no id", "unknown", "hostile id", "two ids", "negative", "too long", "too short", "gap"],
)
async def test_wrong_uploads_are_refused(run, fake, messages, code: str, reason: str) -> None:
    analyses = fake()
    async with run(analyses) as running:
        await create(running, 4)
        got, info = await refusal(running.stub.UploadMedia(parts(messages)))
        assert (got.name, info.reason) == (code, reason)
        assert not (await running.client.get("a-1")).upload.complete
    assert analyses.cancelled == []


async def test_an_ended_analysis_and_one_of_a_path_take_no_bytes(run, fake) -> None:
    async with run(fake()) as running:
        await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        code, info = await refusal(running.stub.UploadMedia(parts([part(0, b"x")])))
        assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION")
        await create(running)
        await running.client.cancel("a-2")
        code, _ = await refusal(running.stub.UploadMedia(parts([part(0, b"x", analysis_id="a-2")])))
        assert code is grpc.StatusCode.FAILED_PRECONDITION

"""Analyze, WatchAnalysis and CancelAnalysis over a real gRPC server, with a scripted service behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError
from orchestrator.core.media import Ledger
from orchestrator.core.results import Failed, Progress
from orchestrator.errors import QueueFull

UPLOAD = pb.AnalyzeRequest(config=pb.AnalysisConfig(upload=pb.Upload()))


def chunk(offset: int, data: bytes = b"", last: bool = False) -> pb.AnalyzeRequest:
    return pb.AnalyzeRequest(chunk=pb.UploadChunk(offset=offset, data=data, last=last))


async def requests(messages: Sequence[pb.AnalyzeRequest], hold: bool = False) -> AsyncIterator[pb.AnalyzeRequest]:
    """``messages``, then the client's half closes, unless it is held open."""
    for message in messages:
        yield message
    if hold:
        await asyncio.Event().wait()


async def kinds(responses) -> list[tuple[str, int]]:
    return [(response.WhichOneof("event"), response.sequence) async for response in responses]


async def settled(condition, seconds: float = 3.0) -> None:
    """Wait until ``condition()`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def refusal(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await kinds(call)
    return caught.value


async def test_a_path_streams_its_events_in_order(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        options = AnalysisOptions(profile="fast", analyzers=("shots",), request_id="r", priority=3)
        assert await kinds(running.client.analyze_path("/allowed/clip", options)) == [
            ("started", 1),
            ("segment", 2),
            ("finished", 3),
        ]
    (config,) = analyses.configs
    assert (config.profile, config.analyzers, config.request_id, config.priority) == ("fast", ("shots",), "r", 3)
    assert analyses.cancelled == []


async def test_every_response_names_its_analysis_and_time(run, fake) -> None:
    async with run(fake()) as running:
        responses = [response async for response in running.client.analyze_path("/allowed/clip")]
    assert {response.analysis_id for response in responses} == {"a-1"}
    assert all(abs(response.create_time.ToSeconds() - time.time()) < 60 for response in responses)


async def test_a_path_outside_the_roots_is_refused(run, fake) -> None:
    async with run(fake()) as running:
        with pytest.raises(ClientError) as caught:
            await kinds(running.client.analyze_path("/etc/passwd"))
    assert (caught.value.reason, caught.value.grpc_code) == ("SOURCE_NOT_ALLOWED", "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [chunk(0, b"x")],
        [pb.AnalyzeRequest()],
        [pb.AnalyzeRequest(config=pb.AnalysisConfig(profile="fast"))],
        [pb.AnalyzeRequest(config=pb.AnalysisConfig(path="/allowed/clip", request_id="x" * 129))],
        [pb.AnalyzeRequest(config=pb.AnalysisConfig(upload=pb.Upload(content_length=-1)))],
        [UPLOAD, UPLOAD],
        [UPLOAD, chunk(-1, b"x")],
        [pb.AnalyzeRequest(config=pb.AnalysisConfig(upload=pb.Upload(content_length=2))), chunk(0, b"abc")],
        [pb.AnalyzeRequest(config=pb.AnalysisConfig(upload=pb.Upload(content_length=4))), chunk(0, b"abc", last=True)],
    ],
    ids=[
        "nothing",
        "chunk first",
        "empty",
        "no source",
        "long id",
        "negative size",
        "two configs",
        "negative offset",
        "too long",
        "too short",
    ],
)
async def test_wrong_requests_are_refused(run, fake, messages) -> None:
    analyses = fake()
    async with run(analyses) as running:
        error = await refusal(running.stub.Analyze(requests(messages)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert all(upload.closed for upload in analyses.uploads if analyses.configs)


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


async def test_closing_the_clients_half_ends_the_upload_too(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        assert ("finished", 3) in await kinds(running.stub.Analyze(requests([UPLOAD, chunk(0, b"abc")])))
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
    assert analyses.cancelled == ["a-1"]


async def test_acknowledgements_come_at_most_every_quarter_second(run, fake) -> None:
    async def slowly() -> AsyncIterator[pb.AnalyzeRequest]:
        yield UPLOAD
        for offset in range(100):
            yield chunk(offset, b"x")
            await asyncio.sleep(0.01)

    async with run(fake()) as running:
        began = time.monotonic()
        got = await kinds(running.stub.Analyze(slowly()))
        lasted = time.monotonic() - began
    acknowledgements = got.count(("upload_progress", 0))
    assert 2 <= acknowledgements <= lasted / 0.25 + 1


async def test_a_mebibyte_is_acknowledged_at_once(run, fake) -> None:
    async with run(fake()) as running:
        call = running.stub.Analyze(requests([UPLOAD, chunk(0, bytes(1 << 20))], hold=True))
        began = time.monotonic()
        first = await call.read()
        assert time.monotonic() - began < 0.2
        assert first.upload_progress.committed_bytes == 1 << 20
        call.cancel()


async def test_the_next_chunk_waits_for_the_one_before(run, fake) -> None:
    """Backpressure: with the first append held back, the client can only fill the transport's windows."""
    taken = 0

    async def counting() -> AsyncIterator[pb.AnalyzeRequest]:
        nonlocal taken
        yield UPLOAD
        for number in range(256):
            yield chunk(number << 18, bytes(1 << 18))
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


async def test_a_cancelled_call_cancels_the_analysis(run, fake, events) -> None:
    analyses = fake(script=(events["started"],))
    async with run(analyses) as running:
        call = running.stub.Analyze(requests([pb.AnalyzeRequest(config=pb.AnalysisConfig(path="/allowed/clip"))]))
        assert (await call.read()).HasField("started")
        call.cancel()
        await settled(lambda: analyses.cancelled == ["a-1"])


async def test_a_client_that_vanishes_during_its_upload_cancels_the_analysis(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        call = running.stub.Analyze(requests([UPLOAD, chunk(0, b"abc")], hold=True))
        await call.read()
        call.cancel()
        await settled(lambda: analyses.cancelled == ["a-1"])
    assert not analyses.uploads[0].complete
    assert analyses.uploads[0].closed


async def test_a_deadline_that_passes_cancels_the_analysis(run, fake, events) -> None:
    analyses = fake(script=(events["started"],))
    async with run(analyses) as running:
        with pytest.raises(ClientError) as caught:
            await kinds(running.client.analyze_path("/allowed/clip", AnalysisOptions(timeout=0.2)))
        assert caught.value.grpc_code == "DEADLINE_EXCEEDED"
        await settled(lambda: analyses.cancelled == ["a-1"])


async def test_a_slow_reader_does_not_hold_the_analysis(run, fake, events) -> None:
    """Nobody reads 20,000 responses, and the upload is taken and the log written all the same."""
    analyses = fake(script=(events["started"],))
    progress = Progress(1, 1, Ledger(), None)
    async with run(analyses) as running:
        call = running.stub.Analyze(requests([UPLOAD, *(chunk(n << 18, bytes(1 << 18)) for n in range(32))]))
        await settled(lambda: bool(analyses.uploads and analyses.uploads[0].complete))
        analyses.extend(*[progress] * 20_000, events["finished"])
        await asyncio.sleep(0.2)
        assert len(analyses.log) == 20_002
        got = [sequence for _, sequence in await kinds(call) if sequence]
    assert got == list(range(1, 20_003))


async def test_a_failed_analysis_ends_its_stream_with_the_same_error(run, fake, events) -> None:
    failed = Failed("DECODE_BUDGET", "RESOURCE_EXHAUSTED", "decoding took too long", False, (("limit_seconds", "5"),))
    analyses = fake(script=(events["started"], failed))
    async with run(analyses) as running:
        with pytest.raises(ClientError, match="decoding took too long") as caught:
            await kinds(running.client.analyze_path("/allowed/clip"))
        for after in (0, 1):
            with pytest.raises(ClientError) as again:
                await kinds(running.client.watch("a-1", after))
            assert again.value.reason == "DECODE_BUDGET"
    assert caught.value.detail == {"limit_seconds": "5"}
    assert caught.value.retry_after is None
    assert analyses.cancelled == []


@pytest.mark.parametrize("fails", [True, False])
async def test_an_analysis_that_ends_during_its_upload_has_the_last_word(run, fake, events, fails: bool) -> None:
    """It closes the upload, so the next chunk cannot be stored; that is not the client's answer."""
    analyses = fake()
    failed = Failed("UNSUPPORTED_FORMAT", "INVALID_ARGUMENT", "no video container", False)

    async def closed(offset: int, data: bytes) -> int:
        analyses.extend(events["started"], failed if fails else events["finished"])
        raise OSError("bad file descriptor")

    open_upload = analyses.open_upload

    def open_closed():
        upload = open_upload()
        upload.append = closed
        return upload

    analyses.open_upload = open_closed
    async with run(analyses) as running:
        call = running.stub.Analyze(requests([UPLOAD, chunk(0, b"abc")], hold=True))
        if fails:
            error = await refusal(call)
            assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "no video container")
        else:
            assert await kinds(call) == [("started", 1), ("finished", 2)]


async def test_a_disk_that_fails_is_an_internal_error(run, fake) -> None:
    analyses = fake()
    open_upload = analyses.open_upload

    async def broken(offset: int, data: bytes) -> int:
        raise OSError("input/output error")

    def open_broken():
        upload = open_upload()
        upload.append = broken
        return upload

    analyses.open_upload = open_broken
    async with run(analyses) as running:
        error = await refusal(running.stub.Analyze(requests([UPLOAD, chunk(0, b"abc")], hold=True)))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert analyses.cancelled == ["a-1"]


async def test_a_full_queue_says_when_to_come_back_and_closes_the_source(run, fake) -> None:
    analyses = fake(refusal=QueueFull("2 analyses are accepted already", limit=2))
    async with run(analyses) as running:
        for call in (running.client.analyze_path("/allowed/clip"), running.stub.Analyze(requests([UPLOAD]))):
            with pytest.raises((ClientError, grpc.aio.AioRpcError)) as caught:
                await kinds(call)
            if isinstance(caught.value, ClientError):
                assert caught.value.reason == "QUEUE_FULL"
                assert caught.value.retry_after is not None
                assert caught.value.retry_after > 0
    assert analyses.file.closed
    assert analyses.uploads[0].closed


async def test_an_unexpected_error_shows_nothing_of_itself(run, fake) -> None:
    async with run(fake(refusal=RuntimeError("secret of /a/path"))) as running:
        with pytest.raises(ClientError) as caught:
            await kinds(running.client.analyze_path("/allowed/clip"))
    assert (caught.value.reason, caught.value.grpc_code) == ("INTERNAL", "INTERNAL")
    assert "secret" not in str(caught.value) + str(caught.value.detail)


async def test_watching_goes_on_after_a_sequence(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        whole = [response async for response in running.client.analyze_path("/allowed/clip")]
        rest = [response async for response in running.client.watch("a-1", 1)]
        assert await kinds(running.client.watch("a-1", 3)) == []
        assert [response.sequence for response in rest] == [2, 3]
        assert rest[0].segment == whole[1].segment
        with pytest.raises(ClientError) as caught:
            await kinds(running.client.watch("nobody"))
    assert caught.value.reason == "NOT_FOUND"


async def test_cancelling_by_name_ends_the_stream(run, fake, events) -> None:
    analyses = fake(script=(events["started"],))
    async with run(analyses) as running:
        responses = running.client.analyze_path("/allowed/clip")
        assert (await anext(responses)).HasField("started")
        await running.client.cancel("a-1")
        with pytest.raises(ClientError) as caught:
            await kinds(responses)
        assert (caught.value.reason, caught.value.grpc_code) == ("CANCELLED", "CANCELLED")
        with pytest.raises(ClientError) as unknown:
            await running.client.cancel("nobody")
    assert unknown.value.reason == "NOT_FOUND"

"""Analyze, WatchAnalysis and CancelAnalysis over a real gRPC server, with a scripted service behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError
from orchestrator.core.media import Ledger
from orchestrator.core.results import Failed, Progress
from orchestrator.errors import FailedPrecondition, QueueFull

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
    (spec,) = analyses.specs
    assert (spec.profile, spec.analyzers, spec.request_id, spec.priority) == ("fast", ("shots",), "r", 3)
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
        [UPLOAD, chunk(0, b"x")],
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
        "no last chunk",
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
    assert all(writer.closed for upload in analyses.uploads for writer in upload.writers)
    assert not any(upload.complete for upload in analyses.uploads)
    assert analyses.cancelled == []


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


@pytest.mark.parametrize("bound", [True, False])
async def test_the_end_of_the_call_is_the_end_of_a_bound_analysis_alone(run, fake, events, bound: bool) -> None:
    analyses = fake(script=(events["started"],))
    config = pb.AnalyzeRequest(config=pb.AnalysisConfig(path="/allowed/clip", cancel_on_disconnect=bound))
    async with run(analyses) as running:
        call = running.stub.Analyze(requests([config]))
        assert (await call.read()).HasField("started")
        call.cancel()
        if bound:
            await settled(lambda: analyses.cancelled == ["a-1"])
        else:
            await asyncio.sleep(0.2)
            assert analyses.cancelled == []


async def test_a_bound_analysis_ends_with_the_call_that_made_it_and_no_other(run, fake, events) -> None:
    analyses = fake(script=(events["started"],))
    config = pb.AnalysisConfig(path="/allowed/clip", cancel_on_disconnect=True, request_id="once")
    async with run(analyses) as running:
        maker = running.stub.Analyze(requests([pb.AnalyzeRequest(config=config)]))
        assert (await maker.read()).HasField("started")
        again = running.stub.Analyze(requests([pb.AnalyzeRequest(config=config)]))
        assert (await again.read()).analysis_id == "a-1"
        again.cancel()
        await asyncio.sleep(0.1)
        assert analyses.cancelled == []
        maker.cancel()
        await settled(lambda: analyses.cancelled == ["a-1"])


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


async def test_the_deadline_of_the_call_is_the_analysis_deadline_unless_an_earlier_one_is_named(
    run, fake, events
) -> None:
    analyses = fake(script=(events["started"],))
    soon = datetime.now(UTC) + timedelta(seconds=2)
    named = pb.AnalysisConfig(path="/allowed/clip")
    named.deadline.FromDatetime(soon)
    async with run(analyses) as running:
        before = datetime.now(UTC)
        with pytest.raises(ClientError) as caught:
            await kinds(running.client.analyze_path("/allowed/clip", AnalysisOptions(timeout=0.2)))
        assert caught.value.grpc_code == "DEADLINE_EXCEEDED"
        for seconds in (60, None, 0.2):
            call = running.stub.Analyze(requests([pb.AnalyzeRequest(config=named)]), timeout=seconds)
            await call.read()
            call.cancel()
        call = running.stub.Analyze(requests([pb.AnalyzeRequest(config=pb.AnalysisConfig(path="/allowed/clip"))]))
        await call.read()
        call.cancel()
    first, late, without, early, none = (spec.deadline for spec in analyses.specs)
    assert before < first < before + timedelta(seconds=0.4)
    assert (late, without, none) == (soon, soon, None)
    assert before < early < soon
    assert analyses.cancelled == [], "whoever runs it looks at the clock"


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


async def test_a_full_queue_says_when_to_come_back(run, fake) -> None:
    analyses = fake(refusal=QueueFull("2 analyses are accepted already", limit=2))
    async with run(analyses) as running:
        for call in (running.client.analyze_path("/allowed/clip"), running.stub.Analyze(requests([UPLOAD]))):
            with pytest.raises((ClientError, grpc.aio.AioRpcError)) as caught:
                await kinds(call)
            if isinstance(caught.value, ClientError):
                assert caught.value.reason == "QUEUE_FULL"
                assert caught.value.retry_after is not None
                assert caught.value.retry_after > 0
    assert not analyses.records


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


async def test_a_request_sent_again_follows_the_analysis_that_it_made_first(run, fake) -> None:
    analyses = fake()
    config = pb.AnalyzeRequest(config=pb.AnalysisConfig(upload=pb.Upload(), request_id="once"))
    async with run(analyses) as running:
        call = running.stub.Analyze(requests([config, chunk(0, bytes(1 << 20))], hold=True))
        assert [(await call.read()).upload_progress.committed_bytes for _ in range(2)] == [0, 1 << 20]
        again = running.stub.Analyze(requests([config, chunk(0, b"x"), chunk(1 << 20, b"rest", last=True)]))
        assert ("finished", 3) in await kinds(again)
        assert [(await call.read()).sequence for _ in range(3)] == [1, 2, 3], "the first call tells it too"
        assert await kinds(running.stub.Analyze(requests([config]))) == [
            ("started", 1),
            ("segment", 2),
            ("finished", 3),
        ]
        other = pb.AnalyzeRequest(config=pb.AnalysisConfig(path="/allowed/clip", request_id="once"))
        assert (await refusal(running.stub.Analyze(requests([other])))).code() is grpc.StatusCode.ALREADY_EXISTS
    assert len(analyses.records) == 1
    assert analyses.uploads[0].committed == (1 << 20) + 4


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

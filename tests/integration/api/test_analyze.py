"""Analyze and CancelAnalysis over a real gRPC server, with a scripted service behind it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError
from orchestrator.core.results import Failed
from orchestrator.errors import QueueFull
from tests.support.calls import UPLOAD, chunk, kinds, refusal, requests, settled


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

"""Create, get, list, retry, delete, export and search over a real gRPC server."""

from __future__ import annotations

import pytest

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError
from orchestrator.core.jobs import AnalysisState, RetryFrom
from orchestrator.core.searching import SegmentRef
from orchestrator.errors import DiskFull, Draining, QueueFull

SUCCEEDED = pb.AnalysisState.ANALYSIS_STATE_SUCCEEDED


async def code_of(call) -> str:
    with pytest.raises(ClientError) as caught:
        await call
    return caught.value.reason


async def test_a_request_sent_again_gives_the_same_analysis(run, fake) -> None:
    async with run(fake()) as running:
        options = AnalysisOptions(request_id="once", tenant="t", labels={"b": "2", "a": "1"}, priority=3)
        first = await running.client.create(options.config(path="/allowed/clip"))
        again = await running.client.create(options.config(path="/allowed/clip"))
        assert (first.created, again.created) == (True, False)
        assert again.analysis.analysis_id == first.analysis.analysis_id == "a-1"
        other = AnalysisOptions(request_id="once", tenant="u").config(path="/allowed/clip")
        assert (await running.client.create(other)).analysis.analysis_id == "a-2"
        assert await code_of(running.client.create(options.config(path="/allowed/other"))) == "REQUEST_ID_REUSED"
    config = first.analysis.config
    assert (config.path, config.tenant, config.priority, dict(config.labels)) == (
        "/allowed/clip",
        "t",
        3,
        {"a": "1", "b": "2"},
    )


async def test_without_a_request_id_each_is_a_new_one(run, fake) -> None:
    async with run(fake()) as running:
        created = [await running.client.create(AnalysisOptions().config(path="/allowed/clip")) for _ in range(2)]
    assert [each.analysis.analysis_id for each in created] == ["a-1", "a-2"]
    assert len({each.analysis.config.request_id for each in created}) == 2


async def test_a_dry_run_creates_nothing(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        estimate = await running.client.estimate(AnalysisOptions().config(path="/allowed/clip"))
    assert (list(estimate.analyzers), list(estimate.reusable_analyzers)) == (["shots"], ["text"])
    assert (estimate.processing_ns, estimate.HasField("waiting_ns"), estimate.media.codec) == (5, False, "h264")
    assert not analyses.records


async def test_only_analyze_can_bind(run, fake) -> None:
    async with run(fake()) as running:
        config = AnalysisOptions(cancel_on_disconnect=True).config(path="/allowed/clip")
        assert await code_of(running.client.create(config)) == "INVALID_REQUEST"


@pytest.mark.parametrize("error", [QueueFull("full"), DiskFull("full"), Draining("going")])
async def test_what_passes_says_when_to_come_back(run, fake, error: Exception) -> None:
    async with run(fake(refusal=error)) as running:
        for dry_run in (False, True):
            with pytest.raises(Exception) as caught:
                await running.stub.CreateAnalysis(
                    pb.CreateAnalysisRequest(config=pb.AnalysisConfig(path="/allowed/clip"), dry_run=dry_run)
                )
            assert "google.rpc.RetryInfo" in str(caught.value.trailing_metadata())
            assert caught.value.code().name == error.grpc_code


async def test_listing_goes_through_every_page(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        for _ in range(5):
            await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        query = pb.ListAnalysesRequest(page_size=2, states=[SUCCEEDED], tenant="t", labels={"k": "v"})
        found = [analysis.analysis_id async for analysis in running.client.list(query)]
        assert found == ["a-5", "a-4", "a-3", "a-2", "a-1"]
        assert [each.analysis_id async for each in running.client.list()] == found
        with pytest.raises(ClientError) as caught:
            _ = [each async for each in running.client.list(pb.ListAnalysesRequest(page_token="nonsense"))]
        assert caught.value.reason == "INVALID_REQUEST"
    asked = analyses.queries[0][0]
    assert (asked.tenant, asked.states, asked.labels) == ("t", frozenset({AnalysisState.SUCCEEDED}), (("k", "v"),))
    assert [(size, token) for _, size, token in analyses.queries] == [
        (2, ""),
        (2, "2"),
        (2, "4"),
        (50, ""),
        (50, "nonsense"),
    ]


async def test_a_retry_is_a_new_analysis(run, fake, events) -> None:
    analyses = fake()
    async with run(analyses) as running:
        await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        again = [
            await running.client.retry("a-1"),
            await running.client.retry("a-1", whole=True),
            await running.client.retry("a-1", analyzer="text"),
        ]
        assert await code_of(running.client.retry("nobody")) == "NOT_FOUND"
        for wrong in (
            pb.RetryAnalysisRequest(analysis_id="a-1"),
            pb.RetryAnalysisRequest(analysis_id="a-1", whole=False),
        ):
            with pytest.raises(Exception) as caught:
                await running.stub.RetryAnalysis(wrong)
            assert caught.value.code().name == "INVALID_ARGUMENT"
        analyses.script = (events["started"],)
        await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        assert await code_of(running.client.retry("a-5")) == "ANALYSIS_NOT_ENDED"
    assert [each.retry_of for each in again] == ["a-1"] * 3
    assert [what for _, what, _ in analyses.retried] == [
        RetryFrom.FAILED_ANALYZERS,
        RetryFrom.WHOLE,
        RetryFrom.ANALYZER,
    ]
    assert analyses.retried[2][2] == "text"


async def test_deleting_forgets(run, fake) -> None:
    async with run(fake()) as running:
        await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        await running.client.delete("a-1")
        assert await code_of(running.client.get("a-1")) == "NOT_FOUND"
        assert await code_of(running.client.delete("a-1")) == "NOT_FOUND"


async def test_a_file_comes_in_pieces(run, fake) -> None:
    async with run(fake()) as running:
        await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        pieces = [piece async for piece in running.client.export("a-1", "webvtt")]
        assert b"".join(pieces) == b"webvtt" + bytes(3 << 20)
        assert max(map(len, pieces)) == 1 << 20
        for analysis_id, file_format, reason in (("a-1", "docx", "INVALID_REQUEST"), ("nobody", "csv", "NOT_FOUND")):
            with pytest.raises(ClientError) as caught:
                _ = [piece async for piece in running.client.export(analysis_id, file_format)]
            assert caught.value.reason == reason


async def test_a_search_is_asked_and_answered(run, fake) -> None:
    analyses = fake()
    async with run(analyses) as running:
        answer = await running.client.search(pb.SearchRequest(query="stop sign", page_token="next"))
        await running.client.search(
            pb.SearchRequest(like=pb.SegmentRef(analysis_id="a-1", segment_index=2), page_size=200)
        )
        assert await code_of(running.client.search(pb.SearchRequest(page_size=201))) == "INVALID_REQUEST"
    words, like = analyses.searched
    assert (words[0].text, words[0].like, words[1:]) == ("stop sign", None, (20, "next"))
    assert (like[0].text, like[0].like, like[1:]) == ("", SegmentRef("a-1", 2), (200, ""))
    (hit,) = answer.hits
    assert (hit.segment.analysis_id, hit.segment.segment_index, hit.score) == ("a-1", 2, 0.5)
    interval = hit.interval
    assert (interval.start_frame, interval.end_frame, interval.start_pts, interval.end_pts) == (3, 4, 5, 6)
    assert (interval.start_ns, interval.end_ns, interval.time_base.denominator) == (200_000_000, 240_000_000, 25)
    kinds = pb.SearchReason.Kind
    assert [(each.kind, each.matched, each.score) for each in hit.reasons] == [
        (kinds.KIND_TEXT, "STOP", 0.75),
        (kinds.KIND_MEANING, "", 0.25),
    ]
    assert answer.next_page_token == "more"

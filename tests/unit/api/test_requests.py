"""What a client may ask for, and what is refused before anything looks at it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from orchestrator.api import messages as pb
from orchestrator.api import requests
from orchestrator.api.search_handlers import search_query
from orchestrator.core.jobs import AnalysisFilter, AnalysisSpec, AnalysisState, RetryFrom, SourceKind, SourceRef
from orchestrator.core.searching import SearchFilter, SearchQuery
from orchestrator.errors import InvalidRequest, NotFound

NEVER = Timestamp(seconds=1 << 60)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def config(**fields: object) -> pb.AnalysisConfig:
    return pb.AnalysisConfig(**{"path": "/clip", **fields})


def test_the_least_that_can_be_asked() -> None:
    assert requests.analysis_spec(config()) == AnalysisSpec(SourceRef(SourceKind.PATH, "/clip"))
    upload = pb.AnalysisConfig(upload=pb.Upload())
    assert requests.analysis_spec(upload) == AnalysisSpec(SourceRef(SourceKind.UPLOAD))


def test_everything_that_can_be_asked() -> None:
    deadline = Timestamp()
    deadline.FromDatetime(NOON)
    asked = pb.AnalysisConfig(
        upload=pb.Upload(content_length=0),
        profile="fast",
        analyzers=["text", "shots"],
        request_id="r",
        priority=-2,
        tenant="t",
        labels={"b": "", "a": "1"},
        deadline=deadline,
        cancel_on_disconnect=True,
        ignore_known=True,
    )
    assert requests.analysis_spec(asked, bindable=True) == AnalysisSpec(
        SourceRef(SourceKind.UPLOAD, size=0),
        profile="fast",
        analyzers=("text", "shots"),
        tenant="t",
        request_id="r",
        priority=-2,
        deadline=NOON,
        labels=(("a", "1"), ("b", "")),
        bound=True,
        reuse=False,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        pb.AnalysisConfig(),
        pb.AnalysisConfig(path=""),
        config(path="/x\0y"),
        config(path="/" + "x" * 4096),
        pb.AnalysisConfig(upload=pb.Upload(content_length=-1)),
        config(request_id="x" * 129),
        config(request_id="ä" * 65),
        config(tenant="x" * 129),
        config(tenant="a\0b"),
        config(profile="x" * 129),
        config(analyzers=[""]),
        config(analyzers=["x"] * 65),
        config(labels={str(number): "" for number in range(65)}),
        config(labels={"": "x"}),
        config(labels={"x" * 129: ""}),
        config(labels={"x": "y" * 129}),
        config(labels={"x": "\0"}),
        config(deadline=NEVER),
        config(cancel_on_disconnect=True),
    ],
)
def test_wrong_configurations_are_refused(wrong: pb.AnalysisConfig) -> None:
    with pytest.raises(InvalidRequest):
        requests.analysis_spec(wrong)


def test_the_longest_that_is_allowed() -> None:
    longest = "x" * 128
    labels = {f"{number:0128}": longest for number in range(64)}
    spec = requests.analysis_spec(config(request_id=longest, tenant=longest, labels=labels, analyzers=["x"] * 64))
    assert (len(spec.labels), spec.tenant) == (64, longest)


@pytest.mark.parametrize("given", ["../x", "a b", "x" * 129, "a\0", "a/b", "ü"])
def test_an_id_that_is_none_of_ours_cannot_be_found(given: str) -> None:
    with pytest.raises(NotFound):
        requests.analysis_id(given)


def test_an_id_is_needed() -> None:
    with pytest.raises(InvalidRequest):
        requests.analysis_id("")
    assert requests.analysis_id("0123456789abcdef") == "0123456789abcdef"


def test_listing() -> None:
    assert requests.list_query(pb.ListAnalysesRequest()) == (AnalysisFilter(), 50, "")
    after = Timestamp()
    after.FromDatetime(NOON)
    states = [pb.AnalysisState.ANALYSIS_STATE_FAILED, pb.AnalysisState.ANALYSIS_STATE_QUARANTINED]
    asked = pb.ListAnalysesRequest(
        page_size=1000, page_token="t", tenant="x", states=states, labels={"k": "v"}, created_after=after
    )
    expected = AnalysisFilter(
        "x", frozenset({AnalysisState.FAILED, AnalysisState.QUARANTINED}), (("k", "v"),), created_after=NOON
    )
    assert requests.list_query(asked) == (expected, 1000, "t")


def test_every_state_can_be_listed() -> None:
    told = {requests.list_query(pb.ListAnalysesRequest(states=[number]))[0] for number in pb.AnalysisState.values()[1:]}
    assert {state for query in told for state in query.states} == set(AnalysisState)


@pytest.mark.parametrize(
    "wrong",
    [
        pb.ListAnalysesRequest(page_size=-1),
        pb.ListAnalysesRequest(page_size=1001),
        pb.ListAnalysesRequest(page_token="x" * 4097),
        pb.ListAnalysesRequest(page_token="\0"),
        pb.ListAnalysesRequest(states=[pb.AnalysisState.ANALYSIS_STATE_UNSPECIFIED]),
        pb.ListAnalysesRequest(states=[99]),
        pb.ListAnalysesRequest(tenant="x" * 129),
        pb.ListAnalysesRequest(created_before=NEVER),
    ],
)
def test_wrong_listings_are_refused(wrong: pb.ListAnalysesRequest) -> None:
    with pytest.raises(InvalidRequest):
        requests.list_query(wrong)


def test_what_is_done_again() -> None:
    assert requests.retry_choice(pb.RetryAnalysisRequest(whole=True)) == (RetryFrom.WHOLE, "")
    assert requests.retry_choice(pb.RetryAnalysisRequest(failed_analyzers=True)) == (RetryFrom.FAILED_ANALYZERS, "")
    assert requests.retry_choice(pb.RetryAnalysisRequest(analyzer="text")) == (RetryFrom.ANALYZER, "text")
    for wrong in ({}, {"whole": False}, {"failed_analyzers": False}, {"analyzer": ""}, {"analyzer": "x" * 129}):
        with pytest.raises(InvalidRequest):
            requests.retry_choice(pb.RetryAnalysisRequest(**wrong))


def test_formats() -> None:
    names = {requests.export_format(number) for number in pb.ExportFormat.values()[1:]}
    assert names == {"jsonl", "parquet", "coco", "webvtt", "srt", "otio", "edl", "csv"}
    for wrong in (0, 99, -1):
        with pytest.raises(InvalidRequest):
            requests.export_format(wrong)  # type: ignore[arg-type]


def test_a_cursor_is_not_negative() -> None:
    assert requests.position(0) == 0
    with pytest.raises(InvalidRequest):
        requests.position(-1)


def test_the_least_search_is_for_everything() -> None:
    assert search_query(pb.SearchRequest()) == SearchQuery()


def test_every_filter_of_a_search() -> None:
    after = Timestamp()
    after.FromDatetime(NOON)
    given = pb.SearchFilter(
        analysis_ids=["a", "b"],
        tenant="t",
        labels={"k": "v"},
        classes=["car"],
        min_score=0.5,
        created_after=after,
        created_before=after,
        min_moderation=0.0,
        max_moderation=1.0,
        has_face=False,
        min_duration=Duration(seconds=1, nanos=5),
        max_duration=Duration(seconds=2),
    )
    assert search_query(pb.SearchRequest(query="stop", filter=given)) == SearchQuery(
        "stop",
        filter=SearchFilter(
            ("a", "b"), "t", (("k", "v"),), ("car",), 0.5, NOON, NOON, 0.0, 1.0, False, 1_000_000_005, 2_000_000_000
        ),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        pb.SearchRequest(query="x" * 1025),
        pb.SearchRequest(query="a\0b"),
        pb.SearchRequest(query="x", like=pb.SegmentRef(analysis_id="a")),
        pb.SearchRequest(like=pb.SegmentRef()),
        pb.SearchRequest(like=pb.SegmentRef(analysis_id="a", segment_index=-1)),
        pb.SearchRequest(filter=pb.SearchFilter(min_score=float("nan"))),
        pb.SearchRequest(filter=pb.SearchFilter(min_moderation=-0.1)),
        pb.SearchRequest(filter=pb.SearchFilter(max_moderation=float("inf"))),
        pb.SearchRequest(filter=pb.SearchFilter(min_duration=Duration(seconds=-1))),
        pb.SearchRequest(filter=pb.SearchFilter(max_duration=Duration(seconds=1 << 40))),
        pb.SearchRequest(filter=pb.SearchFilter(classes=["x"] * 33)),
        pb.SearchRequest(filter=pb.SearchFilter(analysis_ids=[""])),
    ],
)
def test_wrong_searches_are_refused(wrong: pb.SearchRequest) -> None:
    with pytest.raises(InvalidRequest):
        search_query(wrong)

"""The methods with one answer, over a real server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.core.jobs import AnalysisFilter, AnalysisState, RetryFrom, SourceKind, SourceRef
from orchestrator.core.searching import SearchFilter, SegmentRef
from tests.integration.http.conftest import Running

API = "/api/v1"

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one server for all


async def test_an_analysis_is_created_once(running: Running) -> None:
    config = {
        "path": "/allowed/film.mp4",
        "profile": "fast",
        "analyzers": ["shots"],
        "requestId": "r-1",
        "priority": 3,
        "tenant": "t",
        "labels": {"shelf": "a"},
        "deadline": "2030-01-01T00:00:00Z",
    }
    first = await running.client.post(f"{API}/analyses", json={"config": config})
    assert first.status_code == 201
    assert first.headers["location"] == f"{API}/analyses/a-0"
    assert first.json()["created"] is True
    assert first.json()["analysis"]["config"]["labels"] == {"shelf": "a"}
    again = await running.client.post(f"{API}/analyses", json={"config": config})
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert again.json()["analysis"] == first.json()["analysis"]
    (spec,) = running.analyses.specs
    assert spec.source == SourceRef(SourceKind.PATH, "/allowed/film.mp4")
    assert (spec.profile, spec.analyzers, spec.priority, spec.tenant) == ("fast", ("shots",), 3, "t")
    assert spec.deadline == datetime(2030, 1, 1, tzinfo=UTC)
    assert (await running.client.get(first.headers["location"])).json()["analysis"] == first.json()["analysis"]


async def test_names_of_fields_may_be_those_of_the_protocol(running: Running) -> None:
    answer = await running.client.post(
        f"{API}/analyses", json={"config": {"path": "/allowed/x", "request_id": "r"}, "dry_run": False}
    )
    assert answer.json()["analysis"]["config"]["requestId"] == "r"


async def test_a_dry_run_creates_nothing(running: Running) -> None:
    body = {"config": {"path": "/allowed/film.mp4"}}
    for answer in (
        await running.client.post(f"{API}/analyses?dry_run=true", json=body),
        await running.client.post(f"{API}/analyses", json=body | {"dryRun": True}),
    ):
        assert answer.status_code == 200
        assert "analysis" not in answer.json()
        assert answer.json()["estimate"]["processingNs"] == str(2**53 + 1), "int64 do not fit into a JSON number"
    assert not running.analyses.jobs


async def test_listing_filters_and_pages(running: Running) -> None:
    for _ in range(3):
        await running.analysed()
    query = {
        "page_size": "2",
        "tenant": "t",
        "states": ["ANALYSIS_STATE_SUCCEEDED", "ANALYSIS_STATE_FAILED"],
        "labels[shelf]": "a.b",
        "created_after": "2026-01-01T00:00:00Z",
    }
    page = (await running.client.get(f"{API}/analyses", params=query)).json()
    assert [each["analysisId"] for each in page["analyses"]] == ["a-2", "a-1"]
    rest = (await running.client.get(f"{API}/analyses", params={"page_token": page["nextPageToken"]})).json()
    assert [each["analysisId"] for each in rest["analyses"]] == ["a-0"]
    assert rest["nextPageToken"] == ""
    assert running.analyses.listed[0] == AnalysisFilter(
        tenant="t",
        states=frozenset({AnalysisState.SUCCEEDED, AnalysisState.FAILED}),
        labels=(("shelf", "a.b"),),
        created_after=datetime(2026, 1, 1, tzinfo=UTC),
    )


async def test_cancel_then_retry_then_delete(running: Running) -> None:
    name = await running.uploading()
    assert (await running.client.post(f"{API}/analyses/{name}:cancel")).json() == {}
    told = (await running.client.get(f"{API}/analyses/{name}")).json()["analysis"]
    assert (told["state"], told["failure"]["reason"]) == ("ANALYSIS_STATE_CANCELLED", "CANCELLED")
    retried = await running.client.post(f"{API}/analyses/{name}:retry", json={"analyzer": "shots"})
    assert retried.json()["analysis"]["retryOf"] == name
    assert running.analyses.retried == [(name, RetryFrom.ANALYZER, "shots")]
    assert (await running.client.delete(f"{API}/analyses/{name}")).json() == {}
    assert (await running.client.get(f"{API}/analyses/{name}")).status_code == 404


async def test_a_body_cannot_name_another_analysis(running: Running) -> None:
    name = await running.analysed()
    answer = await running.client.post(f"{API}/analyses/{name}:retry", json={"analysisId": "a-9", "whole": True})
    assert answer.status_code == 400
    assert not running.analyses.retried


async def test_search_by_query_and_by_body_ask_the_same(running: Running) -> None:
    query = {
        "query": "red car",
        "like.analysis_id": "a-0",
        "like.segment_index": "3",
        "filter.classes": ["dog", "car"],
        "filter.min_score": "0.25",
        "filter.has_face": "true",
        "filter.min_duration": "1.5s",
        "filter.labels[shelf]": "a",
        "page_size": "5",
    }
    body = {
        "query": "red car",
        "like": {"analysisId": "a-0", "segmentIndex": 3},
        "filter": {
            "classes": ["dog", "car"],
            "minScore": 0.25,
            "hasFace": True,
            "minDuration": "1.5s",
            "labels": {"shelf": "a"},
        },
        "pageSize": 5,
    }
    for partly in ("query", "like"):
        left = {name: value for name, value in query.items() if not name.startswith(partly)}
        by_query = await running.client.get(f"{API}/search", params=left)
        by_body = await running.client.post(
            f"{API}/search", json={name: value for name, value in body.items() if name != partly}
        )
        assert by_query.status_code == by_body.status_code == 200, by_query.text + by_body.text
        assert by_query.json() == by_body.json()
        one, other = running.searches.queries[-2:]
        assert one == other
    assert one.filter == SearchFilter(
        classes=("dog", "car"), min_score=0.25, has_face=True, min_duration_ns=1_500_000_000, labels=(("shelf", "a"),)
    )
    assert running.searches.queries[0].like == SegmentRef("a-0", 3)
    (hit,) = by_query.json()["hits"]
    assert hit["interval"]["endNs"] == str(10**9)
    assert hit["reasons"] == [{"kind": "KIND_TEXT", "matched": "a line", "score": 0.9}]


async def test_head_is_get_without_its_body(running: Running) -> None:
    name = await running.analysed()
    for path in (f"{API}/analyses", f"{API}/analyses/{name}", f"{API}/analyses/{name}/export?format=csv", "/healthz"):
        answer = await running.client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert (await running.client.head(f"{API}/analyses/{name}/events")).status_code == 200

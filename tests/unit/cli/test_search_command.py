"""``reelsift search``: what it asks, how it shows hits and why they were found."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import typer
from typer.testing import CliRunner

from orchestrator.api import messages as pb
from orchestrator.cli import search as module

runner = CliRunner()
app = typer.Typer()
app.command()(module.search)


class FakeClient:
    """Answers with ``total`` hits in pages of as many as were asked for."""

    def __init__(self, total: int) -> None:
        self.total, self.asked = total, []

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[FakeClient]:
        yield self

    async def search(self, request: pb.SearchRequest) -> pb.SearchResponse:
        asked = pb.SearchRequest()
        asked.CopyFrom(request)
        self.asked.append(asked)
        first = int(request.page_token or 0)
        last = min(first + request.page_size, self.total)
        hits = [hit(number) for number in range(first, last)]
        return pb.SearchResponse(hits=hits, next_page_token=str(last) if last < self.total else "")


def hit(number: int) -> pb.SearchHit:
    reasons = [
        pb.SearchReason(kind=pb.SearchReason.KIND_TEXT, matched="STOP\x1b[2J", score=0.99),
        pb.SearchReason(kind=pb.SearchReason.KIND_LABEL, matched="streetcar, tram", score=0.5),
        pb.SearchReason(kind=pb.SearchReason.KIND_MEANING, score=0.42),
    ]
    interval = pb.Interval(start_ns=number * 10**9, end_ns=(number + 1) * 10**9)
    segment = pb.SegmentRef(analysis_id="a-1", segment_index=number)
    return pb.SearchHit(segment=segment, interval=interval, score=0.03, reasons=reasons)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient(3)
    monkeypatch.setattr(module, "connect", fake.connect)
    monkeypatch.setenv("COLUMNS", "20")  # nothing is cut, however narrow
    return fake


def test_hits_say_where_and_why(client: FakeClient) -> None:
    result = runner.invoke(app, ["tram"])
    assert result.exit_code == 0
    assert "a-1:2  0:00:02.000 - 0:00:03.000\n" in result.stdout
    assert "text 'STOP\ufffd[2J' 0.99, label 'streetcar' 0.50, meaning 0.42" in result.stdout
    assert "\x1b" not in result.stdout


def test_every_filter_is_asked_for(client: FakeClient) -> None:
    arguments = "--like a:b:7 --analysis x --analysis y --tenant t --label city=Bern --holds person --min-score 0.5"
    arguments += " --min-moderation 0.25 --max-moderation 0.75 --no-face --min-duration 1.5 --max-duration 0.000000001"
    arguments += " --after 2026-01-02 --before 2026-01-02T03:04:05 --limit 2"
    result = runner.invoke(app, arguments.split())
    assert result.exit_code == 0, result.output
    (asked,) = client.asked
    assert json.loads(pb.to_json(asked)) == {
        "like": {"analysisId": "a:b", "segmentIndex": 7},
        "filter": {
            "analysisIds": ["x", "y"],
            "tenant": "t",
            "labels": {"city": "Bern"},
            "classes": ["person"],
            "minScore": 0.5,
            "minModeration": 0.25,
            "maxModeration": 0.75,
            "hasFace": False,
            "minDuration": "1.500s",
            "maxDuration": "0.000000001s",
            "createdAfter": "2026-01-02T00:00:00Z",
            "createdBefore": "2026-01-02T03:04:05Z",
        },
        "pageSize": 2,
        "query": "",
        "pageToken": "",
    }


def test_pages_are_followed_up_to_the_limit(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client.total = 500
    result = runner.invoke(app, ["tram", "--json", "--limit", "450"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["segment"].get("segmentIndex", 0) for line in lines] == list(range(450))
    assert [asked.page_token for asked in client.asked] == ["", "200", "400"]


def test_nothing_found(client: FakeClient) -> None:
    client.total = 0
    result = runner.invoke(app, ["unicorn"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing found\n")


@pytest.mark.parametrize("like", ["a", "a:", ":3", "a:-1", "a:x", "a:99999999999"])
def test_an_odd_segment_is_refused(client: FakeClient, like: str) -> None:
    result = runner.invoke(app, ["--like", like])
    assert result.exit_code == 2
    assert "ANALYSIS:SEGMENT" in result.stderr

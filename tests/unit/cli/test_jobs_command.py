"""``reelsift jobs``: what it asks, what it shows, and how it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner

from orchestrator.api import messages as pb
from orchestrator.api.client import ClientError
from orchestrator.cli import exits
from orchestrator.cli import jobs as jobs_module
from orchestrator.cli.main import app

runner = CliRunner(env={"COLUMNS": "200"})

STATES = pb.AnalysisState


def analysis(number: int = 1, **fields: Any) -> pb.Analysis:
    config = pb.AnalysisConfig(path=f"/media/{number}.mp4", tenant="acme", labels={"b": "2", "a": "1"}, profile="fast")
    given = {
        "analysis_id": f"a-{number}",
        "state": STATES.ANALYSIS_STATE_RUNNING,
        "config": config,
        "create_time": Timestamp(seconds=1_795_348_800),
        "segment_count": 1234,
    }
    return pb.Analysis(**(given | fields))


class FakeClient:
    def __init__(self, analyses: list[pb.Analysis], responses: list[pb.AnalyzeResponse]) -> None:
        self.analyses, self.responses = analyses, responses
        self.asked: list[tuple[Any, ...]] = []
        self.error: ClientError | None = None

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[FakeClient]:
        self.asked.append(("connect", address))
        yield self

    async def list(self, query: pb.ListAnalysesRequest) -> AsyncIterator[pb.Analysis]:
        self.asked.append(("list", query))
        for each in self.analyses:
            yield each

    async def get(self, analysis_id: str) -> pb.Analysis:
        self.asked.append(("get", analysis_id))
        if self.error:
            raise self.error
        return self.analyses[0]

    async def watch(self, analysis_id: str, after_sequence: int) -> AsyncIterator[pb.AnalyzeResponse]:
        self.asked.append(("watch", analysis_id, after_sequence))
        for response in self.responses:
            yield response
        if self.error:
            raise self.error

    async def cancel(self, analysis_id: str) -> None:
        self.asked.append(("cancel", analysis_id))

    async def delete(self, analysis_id: str) -> None:
        self.asked.append(("delete", analysis_id))

    async def retry(self, analysis_id: str, **how: Any) -> pb.Analysis:
        self.asked.append(("retry", analysis_id, how))
        return analysis(2, retry_of=analysis_id)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient([analysis(number) for number in (3, 2, 1)], [])
    monkeypatch.setattr(jobs_module, "connect", fake.connect)
    return fake


def run(*words: str) -> tuple[int, str]:
    result = runner.invoke(app, ["jobs", *words], catch_exceptions=True)
    return result.exit_code, result.stdout


def test_a_table_of_analyses(client: FakeClient) -> None:
    client.analyses[1].state = STATES.ANALYSIS_STATE_SUCCEEDED
    client.analyses[1].result.partial = True
    client.analyses[2].config.path = "/media/\x1b[31mred.mp4"
    status, shown = run("list")
    assert status == 0
    head, *lines = shown.splitlines()
    assert head.split() == ["id", "state", "created", "segments", "source", "tenant", "labels"]
    assert lines[0].split() == [
        "a-3",
        "running",
        "2026-11-22",
        "12:00:00Z",
        "1,234",
        "/media/3.mp4",
        "acme",
        "a=1",
        "b=2",
    ]
    assert [line.split()[:2] for line in lines[1:]] == [["a-2", "partial"], ["a-1", "running"]]
    assert "\x1b" not in shown
    assert client.asked[0] == ("connect", "127.0.0.1:50051")


def test_what_to_list(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSIFT_SERVER", "there:1")
    words = ["--state", "failed", "--state", "quarantined", "--tenant", "t", "--label", "k=v", "--limit", "2"]
    status, shown = run("list", *words, "--json")
    assert status == 0
    assert [json.loads(line)["analysisId"] for line in shown.splitlines()] == ["a-3", "a-2"]
    assert client.asked[0] == ("connect", "there:1")
    query = client.asked[1][1]
    assert list(query.states) == [STATES.ANALYSIS_STATE_FAILED, STATES.ANALYSIS_STATE_QUARANTINED]
    assert (query.tenant, dict(query.labels), query.page_size) == ("t", {"k": "v"}, 2)
    assert len(run("list", "--limit", "0", "--json")[1].splitlines()) == 3


def test_every_state_has_a_word() -> None:
    assert {f"ANALYSIS_STATE_{each.name}" for each in jobs_module.State} == set(STATES.keys()[1:])


def test_everything_of_one(client: FakeClient) -> None:
    client.analyses[0] = analysis(
        state=STATES.ANALYSIS_STATE_FAILED,
        config=pb.AnalysisConfig(upload=pb.Upload(content_length=5_000_000)),
        upload=pb.UploadProgress(committed_bytes=1000),
        failure=pb.Failure(reason="DISK_FULL", message="no room\nat all"),
        reused_from="a-0",
        reused_analyzers=["text"],
        retry_of="a-9",
        content_digest="ab" * 32,
    )
    status, shown = run("get", "a-1", "--server", "unix:/s")
    assert status == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.splitlines()}
    assert (rows["state"], rows["source"], rows["upload"]) == (
        "failed",
        "upload, 5.0 MB",
        "1,000 bytes on disk, more to come",
    )
    assert rows["failure"] == "DISK_FULL: no room\N{REPLACEMENT CHARACTER}at all"
    assert (rows["taken"], rows["retry"], rows["sha256"]) == ("over text from a-0", "of a-9", "ab" * 32)
    assert client.asked == [("connect", "unix:/s"), ("get", "a-1")]
    assert json.loads(run("get", "a-1", "--json")[1])["failure"]["reason"] == "DISK_FULL"


def test_watching(client: FakeClient, request: pytest.FixtureRequest) -> None:
    client.responses = request.getfixturevalue("analysis")()
    status, shown = run("watch", "a-1", "--after", "7", "--json")
    assert status == 0
    assert [json.loads(line)["sequence"] for line in shown.splitlines()] == ["1", "2", "3", "4"]
    assert client.asked[1] == ("watch", "a-1", 7)
    assert "person" in run("watch", "a-1")[1]
    client.responses = request.getfixturevalue("analysis")(partial=True)
    assert run("watch", "a-1")[0] == exits.PARTIAL


def test_a_rest_without_its_start_can_be_shown(client: FakeClient, request: pytest.FixtureRequest) -> None:
    client.responses = request.getfixturevalue("analysis")()[1:]
    status, shown = run("watch", "a-1", "--after", "1")
    assert status == 0
    assert "#0" in shown


def test_cancelling_and_deleting_several(client: FakeClient) -> None:
    assert run("cancel", "a-1", "a-2")[0] == 0
    assert run("delete", "a-3")[0] == 0
    assert [each for each in client.asked if each[0] != "connect"] == [
        ("cancel", "a-1"),
        ("cancel", "a-2"),
        ("delete", "a-3"),
    ]


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ([], {"whole": False, "analyzer": None}),
        (["--whole"], {"whole": True, "analyzer": None}),
        (["--analyzer", "text"], {"whole": False, "analyzer": "text"}),
    ],
)
def test_retrying_prints_the_new_id(client: FakeClient, words: list[str], how: dict[str, Any]) -> None:
    assert run("retry", "a-1", *words) == (0, "a-2\n")
    assert client.asked[1] == ("retry", "a-1", how)


@pytest.mark.parametrize(
    "words",
    [
        ["get"],
        ["watch", "a-1", "--after", "-1"],
        ["list", "--state", "nonsense"],
        ["list", "--label", "=x"],
        ["retry", "a-1", "--whole", "--analyzer", "text"],
        ["cancel"],
    ],
)
def test_wrong_usage(client: FakeClient, words: list[str]) -> None:
    assert run(*words)[0] == exits.USAGE


def test_what_the_server_refuses_is_an_error(client: FakeClient) -> None:
    client.error = ClientError("there is no such analysis", reason="NOT_FOUND", grpc_code="NOT_FOUND")
    result = runner.invoke(app, ["jobs", "get", "nobody"])
    assert result.exception is client.error

"""``reelsift models`` and a server: what is asked, and what is shown of versions and steps."""

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
from orchestrator.cli import rollouts as module
from orchestrator.cli.main import app

runner = CliRunner()
NOON = Timestamp(seconds=1_795_348_800)
STATES, STAGES, ACTIONS = pb.VersionState, pb.RolloutStage, pb.RolloutAction


def model(name: str = "labels") -> pb.Model:
    stable = pb.Version(
        version=1,
        state=STATES.VERSION_STATE_STABLE,
        digest="ab" * 32,
        precision="fp32",
        target="onnx",
        licence="Apache-2.0",
        parity={"scores": 0.25, "vector": 0.125},
        traffic=pb.Traffic(request_count=1234, p95_seconds=0.02, resident_bytes=300 << 20, analysis_count=2),
    )
    candidate = pb.Version(
        version=2,
        state=STATES.VERSION_STATE_CANDIDATE,
        stage=STAGES.ROLLOUT_STAGE_CANARY,
        share=0.1,
        since=NOON,
        precision="int8",
        target="tensorrt",
        licence="MIT\x1b[2J",
        traffic=pb.Traffic(request_count=50, failure_count=3, p95_seconds=1.5, compared_count=40, disagreed_count=1),
    )
    rest = pb.Version(version=3, state=STATES.VERSION_STATE_AVAILABLE, defect="model.onnx is cut off")
    return pb.Model(model=name, revision=3, versions=[stable, candidate, rest])


STEPS = [
    pb.RolloutStep(
        model="labels",
        revision=3,
        action=ACTIONS.ROLLOUT_ACTION_ROLLBACK,
        version=2,
        time=NOON,
        who="reelsift@host",
        why="the rail LATENCY",
        automatic=True,
        rail="LATENCY",
        detail="too slow",
        evidence={"p95_s": "9", "stable_p95_s": "0.02"},
    ),
    pb.RolloutStep(
        revision=2, action=ACTIONS.ROLLOUT_ACTION_CANARY, version=2, share=0.1, time=NOON, who="me@here", why="try"
    ),
    pb.RolloutStep(revision=1, action=ACTIONS.ROLLOUT_ACTION_STAGE, version=4, time=NOON, who="me", rail="PARITY"),
]


class FakeClient:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.models = self
        self.asked: list[tuple[Any, ...]] = []
        self.error: ClientError | None = None

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[FakeClient]:
        self.asked.append(("connect", address))
        yield self

    async def list(self) -> list[pb.Model]:
        return [model(), model("shots")]

    async def steps(self, name: str, page_size: int) -> AsyncIterator[pb.RolloutStep]:
        self.asked.append(("steps", name, page_size))
        for step in STEPS:
            yield step

    def __getattr__(self, name: str) -> Any:
        async def take(*arguments: Any, **how: Any) -> pb.Model:
            if self.error:
                raise self.error
            self.asked.append((name, arguments, how))
            return model()

        return take


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr(module, "connect", fake.connect)
    monkeypatch.setattr(module, "_me", lambda: "me@here")
    monkeypatch.setenv("REELSIFT_SERVER", "server:1")
    return fake


ME = {"who": "me@here", "why": ""}


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("stage labels 2 --why better", ("stage", ("labels", 2), {"who": "me@here", "why": "better"})),
        ("stage labels 2 --who boss", ("stage", ("labels", 2), {"who": "boss", "why": ""})),
        ("shadow labels --share 0.5", ("shadow", ("labels", 0.5), {"version": 0, **ME})),
        ("canary labels 2 --share 0.1", ("canary", ("labels", 0.1), {"version": 2, **ME})),
        ("promote labels", ("promote", ("labels",), {"version": 0, **ME})),
        ("promote labels 2", ("promote", ("labels",), {"version": 2, **ME})),
        ("rollback labels --why broken", ("rollback", ("labels",), {"version": 0, "who": "me@here", "why": "broken"})),
        ("retire labels 1", ("retire", ("labels", 1), ME)),
    ],
)
def test_steps(client: FakeClient, line: str, asked: tuple[Any, ...]) -> None:
    result = runner.invoke(app, ["models", *line.split()])
    assert result.exit_code == 0, result.output
    assert client.asked == [("connect", "server:1"), asked]
    assert "canary 10 %" in result.stdout


@pytest.mark.parametrize(
    "line",
    [
        "stage labels",
        "stage labels 0",
        "stage labels x",
        "shadow labels",
        "canary labels --share 1.1",
        "retire labels",
        "promote",
    ],
)
def test_wrong_usage(client: FakeClient, line: str) -> None:
    assert runner.invoke(app, ["models", *line.split()]).exit_code == exits.USAGE
    assert client.asked == []


def test_every_version_of_a_server_is_a_line(client: FakeClient) -> None:
    result = runner.invoke(app, ["models", "list", "--server", "unix:/s"])
    assert result.exit_code == 0, result.output
    assert client.asked == [("connect", "unix:/s")]
    header, stable, canary, rest, *others = result.stdout.splitlines()
    assert len(others) == 3
    assert header.split() == [
        "model",
        "version",
        "state",
        "since",
        "precision",
        "digest",
        "parity",
        "traffic",
        "licence",
        "defect",
    ]
    for words in ("labels", "stable", "fp32", "abababababab", "25 % of tolerance", "1,234 requests", "95 % in 20 ms"):
        assert words in stable
    assert "300 MiB, 2 at work" in stable
    for words in ("canary 10 %", "2026-11-22 12:00:00Z", "int8 tensorrt", "3 failed, 1 of 40 differ", "MIT\ufffd[2J"):
        assert words in canary
    assert "available" in rest
    assert "model.onnx is cut off" in rest


def test_as_json(client: FakeClient) -> None:
    listed = runner.invoke(app, ["models", "list", "--server", "s", "--json"])
    assert [json.loads(line)["model"] for line in listed.stdout.splitlines()] == ["labels", "shots"]
    stepped = runner.invoke(app, ["models", "promote", "labels", "--json"])
    assert json.loads(stepped.stdout)["versions"][1]["share"] == 0.1
    told = runner.invoke(app, ["models", "history", "labels", "--json"])
    assert [json.loads(line)["revision"] for line in told.stdout.splitlines()] == ["3", "2", "1"]


def test_the_history_says_who_when_why_and_what_was_found(client: FakeClient) -> None:
    result = runner.invoke(app, ["models", "history", "labels"])
    assert result.exit_code == 0, result.output
    _, back, canary, refused = result.stdout.splitlines()
    for words in ("rollback 2, by itself", "reelsift@host", "latency", "too slow (p95_s 9, stable_p95_s 0.02)"):
        assert words in back
    for words in ("canary 2 10 %", "2026-11-22 12:00:00Z", "me@here", "try"):
        assert words in canary
    assert "stage 4, refused" in refused
    assert runner.invoke(app, ["models", "history", "labels", "--limit", "2"]).stdout.count("\n") == 3
    assert client.asked[-1] == ("steps", "labels", 2)


def test_a_refusal_names_its_reason(client: FakeClient) -> None:
    client.error = ClientError("version 2 is unfit", reason="VERSION_REJECTED", grpc_code="FAILED_PRECONDITION")
    result = runner.invoke(app, ["models", "stage", "labels", "2"])
    assert isinstance(result.exception, ClientError)
    assert exits.fail(client.error) == exits.FAILED


def test_who_is_somebody_somewhere() -> None:
    name, _, host = module._me().partition("@")
    assert name
    assert host

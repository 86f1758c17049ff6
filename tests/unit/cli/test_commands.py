"""Parsing, exit statuses and outputs of the commands, with the service replaced at its address."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError
from orchestrator.cli import analyze as analyze_module
from orchestrator.cli import exits
from orchestrator.cli.main import app, main
from orchestrator.cli.serve import settings_with
from orchestrator.errors import SetupError

runner = CliRunner()


def interrupt_soon() -> None:
    threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]).start()


class FakeClient:
    """Answers with given messages and remembers how it was asked."""

    def __init__(self, responses: list[pb.AnalyzeResponse], error: Exception | None = None) -> None:
        self.responses, self.error = responses, error
        self.asked: list[tuple[str, str, AnalysisOptions, dict[str, Any]]] = []
        self.addresses: list[str] = []
        self.cancelled: list[str] = []
        self.uploaded: list[tuple[str, Path, dict[str, Any]]] = []
        self.configs: list[pb.AnalysisConfig] = []
        self.hangs = False

    def analyze_path(self, path: str, options: AnalysisOptions) -> AsyncIterator[pb.AnalyzeResponse]:
        self.asked.append(("path", path, options, {}))
        return self._answer()

    def analyze_file(self, path: Path, options: AnalysisOptions, **how: Any) -> AsyncIterator[pb.AnalyzeResponse]:
        self.asked.append(("file", str(path), options, how))
        return self._answer()

    async def _answer(self) -> AsyncIterator[pb.AnalyzeResponse]:
        for response in self.responses:
            yield response
        if self.error:
            raise self.error
        if self.hangs:
            interrupt_soon()
            await asyncio.Event().wait()

    async def cancel(self, analysis_id: str) -> None:
        self.cancelled.append(analysis_id)
        if self.error:
            raise self.error

    async def create(self, config: pb.AnalysisConfig) -> pb.CreateAnalysisResponse:
        self.configs.append(config)
        return pb.CreateAnalysisResponse(analysis=pb.Analysis(analysis_id="a-1"), created=True)

    async def estimate(self, config: pb.AnalysisConfig) -> pb.Estimate:
        self.configs.append(config)
        return pb.Estimate(analyzers=["shots", "text"], processing_ns=90_000_000_000)

    async def upload(self, analysis_id: str, path: Path, **how: Any) -> pb.UploadProgress:
        self.uploaded.append((analysis_id, path, how))
        if self.hangs:
            interrupt_soon()
            await asyncio.Event().wait()
        return pb.UploadProgress(committed_bytes=5, complete=True)

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[FakeClient]:
        self.addresses.append(address)
        yield self


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"video")
    return path


Use = Callable[..., FakeClient]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    def install(responses: list[pb.AnalyzeResponse], error: Exception | None = None) -> FakeClient:
        client = FakeClient(responses, error)
        monkeypatch.setattr(analyze_module, "connect", client.connect)
        return client

    return install


def exit_status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reelsift", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_json_is_one_message_per_line_and_nothing_else(analysis, use: Use, clip: Path) -> None:
    use(analysis())
    result = runner.invoke(app, ["analyze", str(clip), "--json", "--server", "there:1"])
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["sequence"] for line in lines] == ["1", "2", "3", "4"]
    assert lines[2]["segment"]["annotations"][2]["models"][0]["digest"] == "ab" * 32
    assert lines[3]["finished"]["partial"] is False


def test_a_server_gets_the_file_and_the_options(analysis, use: Use, clip: Path) -> None:
    client = use(analysis())
    arguments = [
        "--server",
        "there:1",
        "--profile",
        "fast",
        "--analyzers",
        "shots, text",
        "--timeout",
        "9",
        "--upload-rate",
        "5",
    ]
    assert runner.invoke(app, ["analyze", str(clip), *arguments]).exit_code == 0
    ((how, path, options, rest),) = client.asked
    assert (how, path, client.addresses) == ("file", str(clip), ["there:1"])
    assert (options.profile, tuple(options.analyzers), options.timeout) == ("fast", ("shots", "text"), 9)
    assert rest == {"bytes_per_second": 5}


def test_without_a_server_the_service_runs_inside(
    analysis, use: Use, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    @asynccontextmanager
    async def running_app(settings: Any) -> AsyncIterator[str]:
        seen.append(settings)
        yield settings.listen

    monkeypatch.setitem(sys.modules, "orchestrator.app", types.SimpleNamespace(running_app=running_app))
    client = use(analysis())
    link = clip.parent / "link.mp4"
    link.symlink_to(clip)
    result = runner.invoke(app, ["analyze", str(link), "--triton", "gpu:8001"])
    assert result.exit_code == 0, result.output
    (settings,) = seen
    assert settings.listen.startswith("unix:/")
    assert client.addresses == [settings.listen]
    assert (settings.roots, settings.triton) == ((clip.resolve().parent,), "gpu:8001")
    assert client.asked[0][:2] == ("path", str(clip.resolve()))
    assert not Path(settings.listen.removeprefix("unix:")).parent.exists()


def test_a_partial_analysis_has_its_own_exit_status(analysis, use: Use, clip: Path) -> None:
    use(analysis(partial=True))
    assert runner.invoke(app, ["analyze", str(clip), "--server", "there:1"]).exit_code == exits.PARTIAL


def test_the_report_is_written(analysis, use: Use, clip: Path, tmp_path: Path) -> None:
    use(analysis())
    page = tmp_path / "page.html"
    result = runner.invoke(app, ["analyze", str(clip), "--server", "there:1", "--report", str(page), "--json"])
    assert result.exit_code == 0
    assert "clip.mp4" in page.read_text()
    assert len(result.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze"],
        ["analyze", "missing.mp4"],
        ["analyze", "CLIP", "--nonsense"],
        ["analyze", "CLIP", "--timeout", "0"],
        ["analyze", "CLIP", "--label", "novalue", "--server", "there:1"],
        ["analyze", "CLIP", "--priority", "4000000000"],
        ["analyze", "CLIP", "--detach"],
        ["analyze", "CLIP", "--detach", "--dry-run", "--server", "there:1"],
        ["analyze", "CLIP", "--report", "/no/such/folder/page.html"],
        ["serve", "--max-running", "0"],
        ["nonsense"],
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str], clip: Path) -> None:
    line = [str(clip) if argument == "CLIP" else argument for argument in arguments]
    assert runner.invoke(app, line).exit_code == exits.USAGE


def test_tenant_labels_and_priority_are_passed_on(
    analysis, use: Use, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = use(analysis())
    monkeypatch.setenv("REELSIFT_SERVER", "there:2")
    words = ["--tenant", "t", "--label", "a=1", "--label", "b=x=y", "--priority", "-3", "--fresh"]
    assert runner.invoke(app, ["analyze", str(clip), *words]).exit_code == 0
    ((_, _, options, _),) = client.asked
    assert client.addresses == ["there:2"]
    assert (options.tenant, options.labels, options.priority) == ("t", {"a": "1", "b": "x=y"}, -3)
    assert options.ignore_known


@pytest.mark.parametrize("reachable", [True, False])
def test_an_interruption_cancels_at_the_server_and_says_so(
    analysis, use: Use, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reachable: bool
) -> None:
    client = use(analysis()[:2])
    client.hangs = True

    async def cancel(analysis_id: str) -> None:
        client.cancelled.append(analysis_id)
        if not reachable:
            raise ClientError("gone", reason="UNAVAILABLE", grpc_code="UNAVAILABLE")

    client.cancel = cancel  # type: ignore[method-assign]
    assert exit_status(monkeypatch, "analyze", str(clip), "--server", "there:1") == exits.INTERRUPTED
    assert client.cancelled == ["a-1"]
    said = capsys.readouterr().err
    assert said == ("reelsift: cancelled a-1\n" if reachable else said)
    assert ("reelsift jobs cancel a-1" in said) == (not reachable)


def test_detached_it_uploads_and_prints_the_id(use: Use, clip: Path) -> None:
    client = use([])
    words = ["--server", "there:1", "--detach", "--upload-rate", "5", "--timeout", "9", "--profile", "fast"]
    result = runner.invoke(app, ["analyze", str(clip), *words])
    assert (result.exit_code, result.stdout) == (0, "a-1\n")
    assert client.uploaded == [("a-1", clip, {"bytes_per_second": 5})]
    (config,) = client.configs
    assert (config.profile, config.upload.content_length, bool(config.request_id)) == ("fast", 5, True)
    assert 0 < config.deadline.ToSeconds() - time.time() < 10
    assert client.cancelled == []


def test_detached_an_interruption_of_the_upload_cancels(
    use: Use, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = use([])
    client.hangs = True
    assert exit_status(monkeypatch, "analyze", str(clip), "--server", "there:1", "--detach") == exits.INTERRUPTED
    assert client.cancelled == ["a-1"]
    assert capsys.readouterr().out == ""


def test_a_dry_run_tells_and_does_nothing(use: Use, clip: Path) -> None:
    client = use([])
    result = runner.invoke(app, ["analyze", str(clip), "--server", "there:1", "--dry-run"])
    assert result.exit_code == 0
    assert "shots, text" in result.stdout
    assert "about 1 min 30 s" in result.stdout
    assert client.configs[0].WhichOneof("source") == "upload"
    as_json = runner.invoke(app, ["analyze", str(clip), "--server", "there:1", "--dry-run", "--json"])
    assert json.loads(as_json.stdout)["processingNs"] == "90000000000"
    assert not client.asked
    assert not client.uploaded


def test_an_error_is_one_line_with_its_reason_and_a_mend(
    analysis, use: Use, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(
        analysis()[:1],
        ClientError("2 analyses\nare accepted already", reason="QUEUE_FULL", grpc_code="RESOURCE_EXHAUSTED"),
    )
    assert exit_status(monkeypatch, "analyze", str(clip), "--server", "there:1", "--json") == exits.FAILED
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 1
    assert output.err.startswith("reelsift: QUEUE_FULL: 2 analyses are accepted already (")
    assert output.err.count("\n") == 1


def test_our_own_errors_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.fail(SetupError("the part is missing")) == exits.FAILED
    assert capsys.readouterr().err == "reelsift: SETUP_INCOMPLETE: the part is missing (run `reelsift doctor`)\n"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 1)])
def test_interruptions_are_quiet(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("orchestrator.cli.main.app", fail)
    stdout = sys.stdout
    try:
        assert exit_status(monkeypatch) == status
    finally:
        sys.stdout = stdout
    assert capfd.readouterr().err == ""


def test_options_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSIFT_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("REELSIFT_MAX_RUNNING", "7")
    settings = settings_with({"listen": "127.0.0.1:2", "max_running": None})
    assert (settings.listen, settings.max_running) == ("127.0.0.1:2", 7)


def test_a_wrong_environment_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSIFT_MAX_RUNNING", "many")
    result = runner.invoke(app, ["serve"])
    assert result.exit_code == exits.USAGE
    assert "max_running" in result.output


def test_serve_hands_over_its_settings_and_leaves_at_sigterm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    @asynccontextmanager
    async def running_app(settings: Any, inference_of: Any, **_: Any) -> AsyncIterator[str]:
        seen.append(settings)
        threading.Timer(0.05, signal.raise_signal, [signal.SIGTERM]).start()
        yield "here:1"
        seen.append("left")

    service = types.SimpleNamespace(running_app=running_app, patient_inference=None)
    monkeypatch.setitem(sys.modules, "orchestrator.app", service)
    arguments = [
        "--listen",
        "127.0.0.1:0",
        "--root",
        str(tmp_path),
        "--root",
        "/b",
        "--drain-seconds",
        "1",
        "--log-level",
        "error",
    ]
    result = runner.invoke(app, ["serve", *arguments])
    assert result.exit_code == 0, result.output
    assert (seen[0].listen, seen[0].roots, seen[0].drain_seconds) == ("127.0.0.1:0", (tmp_path, Path("/b")), 1)
    assert seen[1:] == ["left"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["list"], ["list", "--repository", "REPO"]),
        (["export", "shots", "--force"], ["export", "--repository", "REPO", "--force", "--", "shots"]),
        (
            ["export", "faces", "--precision", "fp16", "--target", "onnx", "--weights", "mine", "--licence", "MIT"],
            [
                *("export", "--repository", "REPO", "--precision", "fp16", "--target", "onnx"),
                *("--weights", "mine", "--licence", "MIT", "--", "faces"),
            ],
        ),
        (["verify"], ["verify", "--repository", "REPO", "--"]),
        (["sbom", "faces"], ["sbom", "--repository", "REPO", "--", "faces"]),
    ],
)
def test_models_runs_the_export_tool_and_passes_its_status_on(
    arguments: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines: list[list[str]] = []

    def run(line: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        lines.append(line)
        return subprocess.CompletedProcess(line, 4)

    monkeypatch.setattr(subprocess, "run", run)
    result = runner.invoke(app, ["models", *arguments, "--repository", str(tmp_path)])
    assert result.exit_code == 4
    assert lines == [
        [sys.executable, "-m", "export", *(str(tmp_path) if word == "REPO" else word for word in expected)]
    ]


def test_the_version() -> None:
    assert runner.invoke(app, ["--version"]).stdout.startswith("reelsift 0.")

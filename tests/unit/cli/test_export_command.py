"""``reelsift export``: a whole file or none, and no binary on a terminal."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from orchestrator.api.client import ClientError
from orchestrator.cli import exits
from orchestrator.cli import export as module
from orchestrator.core.exporting import FORMATS

runner = CliRunner()
app = typer.Typer()
app.command()(module.export)
PIECES = [b"PAR1\x00\xff", b"", b"PAR1"]


class FakeClient:
    """Sends ``PIECES``, then fails if told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, []

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[FakeClient]:
        self.asked.append(address)
        yield self

    async def export(self, analysis_id: str, file_format: str) -> AsyncIterator[bytes]:
        self.asked += [analysis_id, file_format]
        for piece in PIECES:
            yield piece
        if self.error:
            raise self.error


Use = Callable[..., FakeClient]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    def install(error: Exception | None = None) -> FakeClient:
        client = FakeClient(error)
        monkeypatch.setattr(module, "connect", client.connect)
        return client

    return install


def test_bytes_go_to_stdout_as_they_are(use: Use) -> None:
    client = use()
    result = runner.invoke(app, ["a-1", "--to", "parquet", "--server", "there:1"])
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == b"".join(PIECES)
    assert client.asked == ["there:1", "a-1", "parquet"]


def test_the_server_comes_from_the_environment(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    client = use()
    monkeypatch.setenv("REELSIFT_SERVER", "elsewhere:2")
    assert runner.invoke(app, ["a-1", "--to", "csv"]).exit_code == 0
    assert client.asked[0] == "elsewhere:2"


def test_a_named_file_replaces_the_one_before(use: Use, tmp_path: Path) -> None:
    use()
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    link.symlink_to(real)
    assert runner.invoke(app, ["a-1", "--to", "csv", "-o", str(link)]).exit_code == 0
    assert real.read_bytes() == b"".join(PIECES)
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "real.csv"]


def test_a_failure_leaves_nothing_behind(use: Use, tmp_path: Path) -> None:
    use(ClientError("gone", reason="NOT_FOUND", grpc_code="NOT_FOUND"))
    kept = tmp_path / "kept.csv"
    kept.write_text("old")
    for path in (kept, tmp_path / "new.csv"):
        result = runner.invoke(app, ["a-1", "--to", "csv", "-o", str(path)])
        assert isinstance(result.exception, ClientError)
    assert kept.read_text() == "old"
    assert list(tmp_path.iterdir()) == [kept]


def test_a_pipe_is_written_to_and_stays(use: Use, tmp_path: Path) -> None:
    use()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    assert runner.invoke(app, ["a-1", "--to", "csv", "-o", str(pipe)]).exit_code == 0
    reader.join(5)
    assert read == [b"".join(PIECES)]
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("name", "status"), [(name, exits.USAGE if form.binary else 0) for name, form in FORMATS.items()]
)
def test_only_text_goes_to_a_terminal(name: str, status: int, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    client = use()
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    result = runner.invoke(app, ["a-1", "--to", name])
    assert result.exit_code == status, result.output
    assert bool(client.asked) == (status == 0)


@pytest.mark.parametrize(
    "arguments", [["a-1"], ["a-1", "--to", "pdf"], ["--to", "csv"], ["a-1", "--to", "csv", "-o", "/no/such/folder/x"]]
)
def test_wrong_usage(arguments: list[str], use: Use) -> None:
    client = use()
    assert runner.invoke(app, arguments).exit_code == exits.USAGE
    assert client.asked == []

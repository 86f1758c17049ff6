"""What `tritonserver` and its stubs inherit, and where they live."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.adapters.triton import server
from orchestrator.adapters.triton.distribution import Distribution
from orchestrator.errors import SetupError


def test_the_stubs_take_this_python_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/elsewhere")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    environment = server._environment(Distribution(tmp_path))
    assert environment["PATH"] == f"{Path(sys.executable).parent}:/elsewhere"
    assert "PYTHONHOME" not in environment


@pytest.mark.parametrize(("given", "inherited"), [(None, "1"), ("0", "0")])
def test_the_runtime_sends_nothing_home_unless_told_to(
    given: str | None, inherited: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if given is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
    assert server._environment(Distribution(tmp_path))["ORT_DISABLE_TELEMETRY"] == inherited


def test_the_folder_lies_where_it_is_preferred(tmp_path: Path):
    folder = server._new_folder("x", tmp_path / "run")
    assert folder.parent == tmp_path / "run"
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("odd", ["my cache", "a'b", "$(id)", "a;b", "c" * 100])
def test_a_path_that_a_shell_or_a_socket_cannot_take_is_avoided(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plain = tmp_path / "t"
    plain.mkdir()
    (tmp_path / odd).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(plain))
    assert server._new_folder("x", tmp_path / odd / "run").parent == plain
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / odd))
    with pytest.raises(SetupError, match="TMPDIR"):
        server._new_folder("x", tmp_path / odd / "run")

"""What `tritonserver` and its stubs inherit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.adapters.triton import server
from orchestrator.adapters.triton.distribution import Distribution


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

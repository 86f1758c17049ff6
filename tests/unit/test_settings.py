"""Settings say what the core says, unless somebody sets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.rollout import Budgets
from orchestrator.settings import Settings


def test_the_budgets_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().rollout.budgets() == Budgets()
    every = {
        "LEAST_REQUESTS": 1,
        "LEAST_FAILURES": 2,
        "ERROR_RATE": 0.25,
        "LATENCY_RATIO": 3,
        "LATENCY_SLACK_SECONDS": 4,
        "MEMORY_RATIO": 5,
        "MEMORY_SLACK_BYTES": 6,
        "GROWTH_BYTES": 7,
        "DISAGREEMENT": 0.5,
    }
    for name, value in every.items():
        monkeypatch.setenv(f"REELSIFT_ROLLOUT__{name}", str(value))
    monkeypatch.setenv("REELSIFT_ROLLOUT__WATCH_SECONDS", "8")
    assert Settings().rollout.budgets() == Budgets(1, 0.25, 2, 3, 4, 5, 6, 7, 0.5)
    assert Settings().rollout.watch_seconds == 8


def test_secrets_may_stand_in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "reelsift_database").write_text("postgresql://reelsift:secret@db/reelsift\n")
    (tmp_path / "reelsift_triton_header").write_text("key=value")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Settings().database == "postgresql://reelsift:secret@db/reelsift"
    assert Settings().triton_headers == (("key", "value"),)
    monkeypatch.setenv("REELSIFT_DATABASE", "postgresql://other/reelsift")
    assert Settings().database == "postgresql://other/reelsift"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "missing"))
    assert Settings().triton_headers == ()

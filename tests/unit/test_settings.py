"""Settings say what the core says, unless somebody sets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.core.health import Limits
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


def test_limits_that_are_given_half_keep_their_other_half(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().limits.disk.limits() == Limits(0.8, 0.9)
    monkeypatch.setenv("REELSIFT_LIMITS__DISK__WARNING", "0.7")
    monkeypatch.setenv("REELSIFT_LIMITS__FAILURES_LEAST", "5")
    limits = Settings().limits
    assert limits.disk.limits() == Limits(0.7, 0.9)
    assert limits.memory.limits() == Limits(0.85, 0.95)
    assert limits.failures_least == 5
    monkeypatch.delenv("REELSIFT_LIMITS__DISK__WARNING")
    assert Settings(limits={"disk": {"critical": 0.99}}).limits.disk.limits() == Limits(0.8, 0.99)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["nan", "inf", "much"])
def test_a_limit_is_a_number(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("REELSIFT_LIMITS__DISK__WARNING", value)
    with pytest.raises(ValidationError):
        Settings()


def test_who_is_notified_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSIFT_NOTIFY", '["json://user:s3cret@127.0.0.1/"]')
    settings = Settings()
    assert "s3cret" not in repr(settings)
    assert settings.notify[0].get_secret_value().endswith("@127.0.0.1/")


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

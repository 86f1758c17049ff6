"""Settings say what the core says, unless somebody sets them."""

from __future__ import annotations

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

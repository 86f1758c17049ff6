"""Rollouts to test with: states and the steps that lead to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.core.rollout import Action, Rollout, Stage, Step
from orchestrator.pipeline.model_ports import RolloutStore

THEN = datetime(2026, 1, 1, tzinfo=UTC)


def _way() -> tuple[Rollout, ...]:
    staged = Rollout("labels", 1).staged(2)
    canary = staged.tried(Stage.CANARY, 0.1)
    promoted = canary.promoted()
    third = promoted.staged(3)
    return staged, canary, promoted, third, third.tried(Stage.SHADOW, 0.25)


ROLLOUT = _way()
"""Version 2 is staged, tried and promoted, version 3 is staged and tried."""


def step_to(state: Rollout, action: Action = Action.STAGE, **changes: Any) -> Step:
    """A step that leads to ``state``."""
    facts: dict[str, Any] = {
        "version": state.candidate.version if state.candidate else state.stable,
        "at": THEN + timedelta(minutes=state.revision),
        "who": "somebody@somewhere",
        "why": "to see",
    }
    return Step(state.model, state.revision, action, stable=state.stable, **(facts | changes))


async def roll_out(store: RolloutStore, states: Sequence[Rollout]) -> None:
    """Take every step."""
    for state in states:
        assert await store.step(state, step_to(state))

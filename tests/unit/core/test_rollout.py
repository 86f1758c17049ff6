"""The life of a model's versions: legal walks, who is canary, and what ends a trial."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.rollout import (
    Action,
    Budgets,
    Candidate,
    IllegalStep,
    Measured,
    Rail,
    Role,
    Rollout,
    Stage,
    Step,
    judge,
    since,
)

MIB = 1 << 20
FRESH = Rollout("labels", 1)
THEN = datetime(2026, 1, 1, tzinfo=UTC)

versions = st.integers(1, 4)
shares = st.floats(0, 1, exclude_min=True)
keys = st.text(min_size=1, max_size=20)
Move = Callable[[Rollout], Rollout]
moves: st.SearchStrategy[Move] = st.one_of(
    versions.map(lambda version: lambda state: state.staged(version)),
    st.just(lambda state: state.refused()),
    shares.map(lambda share: lambda state: state.tried(Stage.SHADOW, share)),
    shares.map(lambda share: lambda state: state.tried(Stage.CANARY, share)),
    st.just(lambda state: state.promoted()),
    st.just(lambda state: state.rolled_back()),
    versions.map(lambda version: lambda state: state.rolled_back(version)),
    versions.map(lambda version: lambda state: state.retired(version)),
)


def walk(steps: Sequence[Move]) -> list[Rollout]:
    """The states on the way; illegal steps are not taken."""
    states = [FRESH]
    for step in steps:
        try:
            states.append(step(states[-1]))
        except IllegalStep:
            continue
    return states


@given(st.lists(moves, max_size=30))
def test_whatever_is_done_one_version_is_stable_and_every_step_counts(steps: list[Move]) -> None:
    states = walk(steps)
    assert [state.revision for state in states] == list(range(len(states)))
    for before, after in pairwise(states):
        assert after.wanted[0] == after.stable
        assert len(after.wanted) == len(set(after.wanted)) <= 3
        # What becomes stable was loaded already: it was on trial, or it was the previous one.
        assert after.stable in before.wanted
        roles = [after.role(version) for version in range(1, 5)]
        assert roles.count(Role.STABLE) == 1
        assert {version for version in range(1, 5) if after.role(version) is not Role.AVAILABLE} == set(after.wanted)


@given(st.lists(moves, max_size=30), keys)
def test_an_analysis_is_answered_by_a_loaded_version_and_always_by_the_same(steps: list[Move], key: str) -> None:
    for state in walk(steps):
        assert state.version_for(key) in state.wanted
        assert state.version_for(key) == replace(state, revision=state.revision + 7).version_for(key)


@given(st.lists(moves, max_size=30))
def test_a_step_back_undoes_a_promotion_and_ends_a_trial(steps: list[Move]) -> None:
    for state in walk(steps):
        if state.candidate is not None:
            after = state.rolled_back()
            assert (after.stable, after.candidate, after.previous) == (state.stable, None, state.previous)
            assert state.promoted().rolled_back().stable == state.stable


def test_the_stable_version_is_left_by_name_while_another_is_on_trial() -> None:
    state = FRESH.staged(2).promoted().staged(3)
    assert state.rolled_back() == Rollout("labels", 2, None, 1, 4)
    assert state.rolled_back(2) == Rollout("labels", 1, Candidate(3), None, 4)
    again = FRESH.staged(2).promoted().staged(1)  # the previous one is on trial
    assert again.rolled_back(2) == Rollout("labels", 1, None, None, 4)


def test_the_whole_way_and_back() -> None:
    state = FRESH.staged(2)
    assert (state.candidate, state.version_for("x")) == (Candidate(2), 1)
    state = state.tried(Stage.SHADOW, 0.5)
    assert state.version_for("x") == 1  # nobody hears a shadow
    state = state.tried(Stage.CANARY, 1.0)
    assert state.version_for("x") == 2
    state = state.promoted()
    assert (state.stable, state.previous, state.candidate) == (2, 1, None)
    assert state.version_for("x") == 2
    assert state.rolled_back() == Rollout("labels", 1, revision=5)
    assert state.retired(1) == Rollout("labels", 2, revision=5)


@pytest.mark.parametrize(
    ("state", "step", "says"),
    [
        (FRESH, lambda s: s.staged(1), "stable one already"),
        (FRESH.staged(2), lambda s: s.staged(2), "version 2 of labels is on trial already"),
        (FRESH.staged(2), lambda s: s.staged(3), "version 2 of labels is on trial already"),
        (FRESH, lambda s: s.tried(Stage.CANARY, 0.1), "stage one first"),
        (FRESH.staged(2), lambda s: s.tried(Stage.CANARY, 0.1, 3), "version 2 of labels is on trial, not version 3"),
        (FRESH, lambda s: s.promoted(), "stage one first"),
        (FRESH.staged(2), lambda s: s.promoted(3), "not version 3"),
        (FRESH, lambda s: s.rolled_back(), "no earlier version"),
        (
            FRESH.staged(2).promoted(),
            lambda s: s.rolled_back(3),
            "version 3 of labels is neither on trial nor promoted",
        ),
        (FRESH.staged(2), lambda s: s.rolled_back(1), "version 1 of labels is neither"),  # nothing lies before it
        (FRESH, lambda s: s.retired(1), "in use"),
        (FRESH.staged(2), lambda s: s.retired(2), "in use"),
        (FRESH, lambda s: s.retired(3), "nothing to retire"),
    ],
)
def test_steps_that_are_refused(state: Rollout, step: Move, says: str) -> None:
    with pytest.raises(IllegalStep, match=says):
        step(state)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan"), float("inf")])
def test_a_share_is_more_than_nothing_and_at_most_all(share: float) -> None:
    with pytest.raises(ValueError, match="share") as caught:
        FRESH.staged(2).tried(Stage.CANARY, share)
    assert not isinstance(caught.value, IllegalStep)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rollout("labels", 0),
        lambda: Rollout("labels", 1, previous=1),
        lambda: Rollout("labels", 1, Candidate(1)),
        lambda: Rollout("labels", 1, revision=-1),
        lambda: Candidate(0),
        lambda: Candidate(2, Stage.STAGED, 0.5),
    ],
)
def test_states_that_cannot_be(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"got|count"):
        make()


# --- who is canary -----------------------------------------------------------------------------------------------------


def canary(share: float, version: int = 2) -> Rollout:
    return FRESH.staged(version).tried(Stage.CANARY, share)


@given(keys, shares, shares)
def test_whoever_is_canary_stays_it_when_the_share_grows(key: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    if canary(small).version_for(key) == 2:
        assert canary(large).version_for(key) == 2


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_share_holds(share: float) -> None:
    dice, count = random.Random(7), 20_000
    state = canary(share)
    found = sum(state.version_for(f"{dice.getrandbits(128):032x}") == 2 for _ in range(count)) / count
    assert abs(found - share) < 5 * (share * (1 - share) / count) ** 0.5  # five standard deviations


def test_another_candidate_has_other_canaries() -> None:
    names = [f"analysis {number}" for number in range(4000)]
    both = sum(canary(0.5, 2).version_for(name) == 2 and canary(0.5, 3).version_for(name) == 3 for name in names)
    assert 800 < both < 1200  # a quarter: independent


# --- since when --------------------------------------------------------------------------------------------------------


def told(states: Sequence[Rollout], actions: Sequence[tuple[Action, int]]) -> list[Step]:
    """The history behind ``states``, newest first: a step a minute."""
    return [
        Step(
            "labels", state.revision, action, version, state.stable, THEN + timedelta(minutes=state.revision), "w", "y"
        )
        for state, (action, version) in zip(states, actions, strict=True)
    ][::-1]


def minutes(rollout: Rollout, history: Sequence[Step]) -> dict[int, float]:
    return {version: (at - THEN).total_seconds() / 60 for version, at in since(rollout, history).items()}


def test_since_when() -> None:
    staged = FRESH.staged(2)
    canaried = staged.tried(Stage.CANARY, 0.1)
    promoted = canaried.promoted()
    third = promoted.staged(3)
    back = third.rolled_back().rolled_back()
    way = [staged, canaried, promoted, third, third.rolled_back(), back]
    did = [(Action.STAGE, 2), (Action.CANARY, 2), (Action.PROMOTE, 2), (Action.STAGE, 3), (Action.ROLLBACK, 3)]
    history = told(way, [*did, (Action.ROLLBACK, 2)])
    assert minutes(FRESH, []) == {}
    assert minutes(canaried, history[-2:]) == {2: 2}
    assert minutes(promoted, history[-3:]) == {1: 3, 2: 3}
    assert minutes(third, history[-4:]) == {1: 3, 2: 3, 3: 4}
    assert minutes(back, history) == {1: 6}
    assert minutes(third, history[-4:-3]) == {3: 4}  # nothing is made up of what is no longer told


# --- what ends a trial -------------------------------------------------------------------------------------------------

FINE = Measured(1000, 0, 0.01, 0.02, 300 * MIB, 280 * MIB, 500, 0)
BUDGETS = Budgets()


def rail(budgets: Budgets = BUDGETS, stable: Measured = FINE, **changes: float) -> Rail | None:
    hit = judge(replace(FINE, **changes), stable, budgets)  # type: ignore[arg-type]
    return None if hit is None else hit.rail


def test_a_candidate_like_the_stable_version_hits_nothing() -> None:
    assert rail() is None
    assert judge(Measured(), Measured(), BUDGETS) is None


def test_failures() -> None:
    assert rail(failures=20) is None  # 2 % of a thousand
    assert rail(failures=21) is Rail.ERRORS
    assert rail(requests=2, failures=2) is None  # too few to tell
    assert rail(requests=3, failures=3) is Rail.ERRORS


def test_latency_is_relative_and_has_some_slack() -> None:
    assert rail(p95_s=0.02 * 1.5 + 0.05) is None
    assert rail(p95_s=0.081) is Rail.LATENCY
    assert rail(p95_s=9.0, requests=19) is None
    assert rail(p95_s=9.0, stable=replace(FINE, requests=19)) is None


def test_memory_of_a_hungry_one_and_of_a_leak() -> None:
    hungry = {"resident_bytes": 707 * MIB, "resident_first_bytes": 700 * MIB}
    assert rail(**hungry) is Rail.MEMORY
    assert rail(stable=replace(FINE, resident_bytes=0), **hungry) is None  # a Triton whose processes we cannot see
    assert rail(resident_bytes=(280 + 128) * MIB) is None
    assert rail(resident_bytes=(280 + 129) * MIB) is Rail.MEMORY


def test_agreement() -> None:
    assert rail(disagreed=25) is None  # 5 % of 500
    assert rail(disagreed=26) is Rail.AGREEMENT
    assert rail(compared=19, disagreed=19) is None


def test_the_worst_comes_first_and_says_what_was_seen() -> None:
    bad = replace(FINE, failures=900, p95_s=9.0, disagreed=500, resident_bytes=4000 * MIB)
    hit = judge(bad, FINE, BUDGETS)
    assert hit is not None
    assert (hit.rail, hit.detail) == (Rail.ERRORS, "900 of 1000 requests failed")
    assert hit.evidence == {"requests": 1000.0, "failures": 900.0}
    slow = judge(replace(FINE, p95_s=9.0), FINE, BUDGETS)
    assert slow is not None
    assert "9.000 s" in slow.detail
    assert slow.evidence["stable_p95_s"] == 0.02


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0, 60), st.integers(0, 1 << 40))
def test_more_generous_budgets_never_turn_away_what_passed(
    requests: int, failures: int, p95_s: float, resident: int
) -> None:
    seen = Measured(
        requests, min(requests, failures), p95_s / 2, p95_s, resident, resident // 2, requests, failures // 9
    )
    generous = Budgets(20, 0.5, 30, 15.0, 5.0, 15.0, 8 << 30, 8 << 30, 0.5)
    if judge(seen, FINE, BUDGETS) is None:
        assert judge(seen, FINE, generous) is None

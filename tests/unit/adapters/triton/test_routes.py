"""Who is answered by which version, and whom a rollback reaches."""

import pytest

from orchestrator.adapters.triton.repository import further, split
from orchestrator.adapters.triton.routes import Routes
from orchestrator.core.rollout import Rollout, Stage

BASE = Rollout("labels", 1)
CANARY = BASE.staged(2).tried(Stage.CANARY, 0.5)


def routes(rollout: Rollout | None = None, default: int = 1) -> Routes:
    made = Routes()
    if rollout is not None:
        direct(made, rollout, default)
    return made


def direct(made: Routes, rollout: Rollout, default: int = 1) -> None:
    made.direct({"labels": rollout}, lambda _: default)


@pytest.mark.parametrize("name", ["labels", "labels.v2", "labels.02", ".2"])
def test_names_of_models_are_no_versions(name: str):
    assert split(name) == (name, None)


def test_a_further_version_has_a_name_of_its_own():
    assert split(further("labels", 12)) == ("labels", 12)


def test_without_a_rollout_each_model_answers_under_its_name():
    with routes().pinned("a") as pin:
        assert pin.name("labels") == "labels"


def test_a_canary_answers_for_its_share_and_for_no_caller_without_a_key():
    made = routes(CANARY)
    names = set()
    for key in ("", *map(str, range(40))):
        with made.pinned(key) as pin, made.pinned(key) as again:
            expected = CANARY.version_for(key) if key else 1
            assert pin.name("labels") == again.name("labels") == {1: "labels", 2: "labels.2"}[expected]
            names.add(pin.name("labels"))
    assert names == {"labels", "labels.2"}


def test_the_default_has_the_plain_name_whatever_its_number():
    with routes(Rollout("labels", 3, previous=1), default=3).pinned("a") as pin:
        assert pin.name("labels") == "labels"
    with routes(Rollout("labels", 1), default=3).pinned("a") as pin:
        assert pin.name("labels") == "labels.1"


ALL = BASE.staged(2).tried(Stage.CANARY, 1.0)


@pytest.mark.parametrize(
    ("then", "withdrawn"),
    [
        (ALL.rolled_back(), True),
        (ALL.rolled_back().staged(3), True),  # what came between was missed
        (ALL.promoted().rolled_back(), True),  # a store of others went faster
        (ALL.promoted(), False),
        (ALL.tried(Stage.SHADOW, 0.1), False),
        (ALL.tried(Stage.CANARY, 0.001), False),
    ],
)
def test_a_rollback_of_a_candidate_reaches_its_pins(then: Rollout, withdrawn: bool):
    made = routes(ALL)
    with made.pinned("a") as pin, made.pinned("") as search:
        direct(made, then)
        assert ("labels" in pin.withdrawn) == withdrawn
        assert not search.withdrawn
        assert pin.name("labels") == "labels.2"
        assert made.users("labels.2") == made.analyses("labels.2") == (not withdrawn)
        assert (made.users("labels"), made.analyses("labels")) == (1, 0)
    assert made.users("labels.2") == made.users("labels") == 0


def test_a_promoted_version_keeps_its_pins_when_it_is_rolled_back():
    promoted = ALL.promoted()
    made = routes(promoted)
    with made.pinned("a") as pin:
        direct(made, promoted.rolled_back())
        assert not pin.withdrawn
        assert made.users("labels.2") == 1
        assert made.stable("labels") == "labels"


def test_the_end_of_a_pin_is_told():
    made, ends = routes(ALL), []
    made.released = lambda: ends.append(made.users("labels.2"))
    with made.pinned("a"):
        assert made.users("labels.2") == 1
    assert ends == [0]


def test_a_version_is_wanted_by_its_rollout():
    made = routes(ALL.promoted())
    assert [made.wants("labels", version) for version in (1, 2, 3)] == [True, True, False]
    assert made.wants("faces", 1)

"""When readings become alerts, and what is said of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.alerting import (
    RAISE_AFTER,
    RESOLVE_AFTER,
    AlertFilter,
    Change,
    Hysteresis,
    Level,
    matches,
    summary,
)
from orchestrator.core.health import Limits, Reading, Status, measured, up, worst
from tests.support.operations_store import alert, silence

LOOKS = {"g": Status.HEALTHY, "w": Status.WARNING, "c": Status.CRITICAL}


def changes(looks: str, level: Level | None = None) -> list[Change]:
    """What each look comes to."""
    hysteresis = Hysteresis(level)
    return [hysteresis.see(Reading("disk/data", LOOKS[look], 0.0)) for look in looks]


def told(looks: str, level: Level | None = None) -> str:
    """The same, a letter for each change."""
    return "".join(change.value[0] for change in changes(looks, level)).replace("N", ".")


@pytest.mark.parametrize(
    ("looks", "changed"),
    [
        ("gggg", "...."),
        ("wg", ".."),  # once is not enough
        ("wwww", ".R.."),
        ("wwgg", ".R.R"),
        ("wwgwgwgg", ".R.....R"),  # it wavers: one alert
        ("wwcc", ".R.W"),
        ("wc", ".R"),  # bad twice, and critical now
        ("wwcwc", ".R..."),
        ("ccww", ".R.."),  # the level is the worst that it was
        ("ccggcc", ".R.R.R"),
    ],
)
def test_readings_raise_worsen_and_resolve(looks: str, changed: str) -> None:
    assert told(looks) == changed


def test_an_open_alert_of_an_earlier_run_is_gone_on_with() -> None:
    assert told("wwcc", Level.WARNING) == "...W"
    assert told("gg", Level.CRITICAL) == ".R"


@given(st.text(alphabet="gwc", max_size=60))
def test_an_alert_is_open_exactly_between_being_raised_and_resolved(looks: str) -> None:
    is_open = False
    for at, change in enumerate(changes(looks)):
        if change is Change.RAISE:
            assert not is_open
            assert "g" not in looks[at + 1 - RAISE_AFTER : at + 1]
            is_open = True
        elif change is Change.RESOLVE:
            assert is_open
            assert looks[at + 1 - RESOLVE_AFTER : at + 1] == "g" * RESOLVE_AFTER
            is_open = False
        elif change is Change.WORSEN:
            assert is_open


@pytest.mark.parametrize(
    ("component", "pattern", "does"),
    [
        ("disk/data", "disk/*", True),
        ("disk/data", "*", True),
        ("disk/data", "disk/data", True),
        ("disk/data", "disk", False),
        ("model/labels.2", "model/labels.2", True),
        ("model/labelsX2", "model/labels.2", False),
        ("model/a", "model/[ab]", False),  # nothing but the star is special
        ("a/b", "*/*", True),
    ],
)
def test_a_pattern(component: str, pattern: str, does: bool) -> None:
    assert matches(component, pattern) is does
    assert AlertFilter(component=pattern).takes(alert(component=component)) is does
    assert silence(pattern=pattern).covers(component, silence().created) is does


def test_a_silence_is_over_at_its_end() -> None:
    assert not silence().covers("disk/data", silence().until)


def test_what_is_said_of_a_reading() -> None:
    full = measured("disk/data", 0.9512, "ratio", Limits(0.8, 0.9), "2.1 GiB free")
    assert summary(full) == "disk/data: 0.9512 ratio (>= 0.9); 2.1 GiB free"
    assert summary(measured("certificate/tls", 3.0, "seconds", Limits(21, 7))) == "certificate/tls: 3 seconds (<= 7)"
    assert summary(up("triton", False, "no answer within 2 s")) == "triton: no answer within 2 s"
    assert summary(up("triton", False)) == "triton: does not work"
    refused = Reading("disk/data", Status.CRITICAL, 0.5, "ratio", Limits(0.8, 0.9), "new work is refused")
    assert summary(refused) == "disk/data: 0.5 ratio; new work is refused"


def test_limits_judge_in_both_directions() -> None:
    many, few = Limits(10, 100), Limits(21, 7)
    assert [many.judge(value).name for value in (9.9, 10, 99, 100)] == ["HEALTHY", "WARNING", "WARNING", "CRITICAL"]
    assert [few.judge(value).name for value in (22, 21, 8, 7, -1)] == [
        "HEALTHY",
        "WARNING",
        "WARNING",
        "CRITICAL",
        "CRITICAL",
    ]
    assert worst([]) is Status.HEALTHY
    assert worst([Status.WARNING, Status.CRITICAL, Status.HEALTHY]) is Status.CRITICAL

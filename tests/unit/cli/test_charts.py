"""Charts are to scale: what is twice as much is twice as high, and every place lies inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import charts

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def plain(value: float) -> str:
    return f"{value:g}"


@given(st.floats(1e-6, 1e9))
def test_steps_are_round_and_large_enough(step: float) -> None:
    found = charts.nice(step)
    assert step * (1 - 1e-6) <= found <= 2.6 * step
    digits = f"{found:e}".split("e")[0].rstrip("0").rstrip(".")
    assert digits in ("1", "2", "5")


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_lie_between(low: float, length: float, most: int) -> None:
    scale = charts.Scale(10, 100, low, low + length)
    ticks = scale.ticks(most)
    assert len(ticks) <= most + 1
    assert all(9.9 <= scale.at(tick) <= 110.1 for tick in ticks)


def test_a_scale_of_one_value_is_a_scale() -> None:
    assert charts.Scale(0, 10, 5, 5).at(5) == 0


def test_columns_are_as_high_as_their_values_and_stacked() -> None:
    chart = charts.columns(["a", "b"], {"one": [1.0, 2.0], "two": [3.0, 0.0]}, plain, [2.0, 4.0])
    first, second = chart.columns
    assert [part.kind for part in first.parts] == [0, 1]
    assert first.parts[1].height == pytest.approx(3 * first.parts[0].height)
    assert first.parts[1].top + first.parts[1].height == pytest.approx(first.parts[0].top)
    assert first.parts[0].top + first.parts[0].height == pytest.approx(chart.frame.base)
    assert [part.kind for part in second.parts] == [0], "nothing is not drawn"
    assert second.before == pytest.approx(first.parts[1].top), "4 is as high as 1 + 3"
    assert (first.parts[1].tip, second.tip) == ("a: 3 two", "b: 4 before")
    assert chart.names == ("one", "two")
    assert first.x + first.width < second.x


def test_columns_of_nothing() -> None:
    chart = charts.columns(["a"], {"one": [0.0]}, plain)
    assert chart.columns[0].parts == ()
    assert chart.columns[0].before is None
    assert charts.columns([], {}, plain).columns == ()


def test_many_columns_share_few_names() -> None:
    chart = charts.columns([str(at) for at in range(31)], {"one": [1.0] * 31}, plain)
    assert 4 <= len(chart.frame.across) <= charts.MOST_NAMES
    assert len(chart.columns) == 31


def points(*values: float) -> list[tuple[datetime, float]]:
    return [(NOON + DAY * at / len(values), value) for at, value in enumerate(values)]


def places(part: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, _, y in (point.partition(",") for point in part.split())]


def test_lines_run_from_left_to_right_and_upwards() -> None:
    chart = charts.lines(NOON, NOON + DAY, {"one": points(0, 1, 2, 4), "none": []}, plain)
    ((kind, (part,)),) = chart.lines
    drawn = places(part)
    assert kind == 0
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    assert drawn[0] == pytest.approx((chart.frame.left, chart.frame.base), abs=0.1)
    rises = [chart.frame.base - y for _, y in drawn]
    assert rises[3] == pytest.approx(4 * rises[1], abs=0.3)
    assert all(charts.TOP - 0.1 <= y <= chart.frame.base for _, y in drawn)


def test_a_line_breaks_where_nothing_was_measured() -> None:
    told = [*points(1, 1, 1, 1), (NOON + 10 * DAY, 1.0), (NOON + 10 * DAY + DAY / 4, 1.0)]
    ((_, parts),) = charts.lines(NOON, NOON + 11 * DAY, {"one": told}, plain, pause=DAY).lines
    assert [len(places(part)) for part in parts] == [4, 2]
    ((_, parts),) = charts.lines(NOON, NOON + 11 * DAY, {"one": told}, plain).lines
    assert len(parts) == 1


def test_a_limit_is_drawn_where_it_is_near() -> None:
    near = charts.lines(NOON, NOON + DAY, {"one": points(2, 2)}, plain, limits={"too slow": 3.0})
    assert [name for _, name in near.frame.limits] == ["too slow"]
    assert near.frame.limits[0][0] >= charts.TOP - 0.1
    far = charts.lines(NOON, NOON + DAY, {"one": points(0.2, 0.2)}, plain, limits={"too slow": 3.0})
    assert far.frame.limits == ()
    assert not charts.lines(NOON, NOON + DAY, {}, plain).lines


def test_bars_are_as_long_as_their_values() -> None:
    chart = charts.bars([("a", 1.0, 2.0, "1"), ("b", 2.0, None, "2"), ("c", 0.0, 0.5, "0")], left=100)
    first, second, third = chart.bars
    assert second.end - 100 == pytest.approx(2 * (first.end - 100))
    assert first.before == pytest.approx(second.end)
    assert (second.before, third.end) == (None, 100)
    assert first.y < second.y < third.y < chart.height
    assert charts.bars([]).bars == ()


@pytest.mark.parametrize(
    ("length", "first", "most"),
    [
        (timedelta(hours=6), "12:00", 8),
        (timedelta(hours=24), "12:00", 9),
        (timedelta(days=2), "12:00", 9),
        (timedelta(days=7), "23 Nov", 8),
        (timedelta(days=180), None, 9),
    ],
)
def test_moments_are_round_and_few(length: timedelta, first: str | None, most: int) -> None:
    found = charts.moments(NOON, NOON + length)
    assert 3 <= len(found) <= most
    assert all(NOON <= time <= NOON + length for time, _ in found)
    assert first is None or found[0][1] == first

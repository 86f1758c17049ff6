"""Hosts for a load, by rates that were measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.capacity import Cost, Load, Rates, days_left, parse_load, plan, rates, span
from orchestrator.core.statistics import Sample, Spread, Stats

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def samples(hours: float, server: str = "one", every: float = 60.0, **values: float) -> list[Sample]:
    """Alike ones."""
    named = {name.replace("_0", "/0").replace("_1", "/1"): value for name, value in values.items()}
    return [Sample(server, NOON + timedelta(seconds=at * every), named) for at in range(int(hours * 3600 / every))]


STATS = Stats(
    24,
    media_seconds=36_000.0,
    realtime_factor=Spread(10, 0.2, 0.2, 0.5, 0.6),
    stages={"decode": 30.0, "infer/labels": 60.0, "model/labels": 55.0, "store": 10.0, "fetch": 500.0},
    frames={"decoded": 800_000, "corrupt": 100_000, "skipped": 0, "dropped": 5},
)


def test_a_resource_costs_its_use_over_the_media() -> None:
    """Two servers, each half in use for an hour: an hour of host time for ten hours of media."""
    seen = [*samples(1, "one", cpu_ratio=0.5, running=2), *samples(1, "two", cpu_ratio=0.5, running=2)]
    found = rates(STATS, seen)
    assert found.costs == {"cpu": Cost(0.1, 0.0)}
    assert (found.servers, found.gpus, found.fps, found.decoding) == (2, 0, 25.0, 0.3)


def test_what_is_used_at_rest_is_no_cost_of_the_media() -> None:
    resting = [replace(each, time=each.time + timedelta(hours=1)) for each in samples(1, cpu_ratio=0.1, running=0)]
    found = rates(STATS, [*samples(1, cpu_ratio=0.6, running=2), *resting])
    assert found.costs["cpu"].idle == pytest.approx(0.1)
    assert found.costs["cpu"].seconds == pytest.approx(0.5 * 3600 / 36_000)


def test_gpus_of_a_host_count_by_their_mean() -> None:
    found = rates(STATS, samples(1, cpu_ratio=0.1, running=1, gpu_ratio_0=0.8, gpu_ratio_1=0.4, nvdec_ratio_0=0.2))
    assert found.gpus == 2
    assert found.costs["gpu"].seconds == pytest.approx(0.06)
    assert found.costs["nvdec"].seconds == pytest.approx(0.02)


def test_nothing_measured_is_no_rate() -> None:
    with pytest.raises(ValueError, match="nothing was analysed"):
        rates(Stats(24), samples(1, cpu_ratio=0.1))
    with pytest.raises(ValueError, match="CPU"):
        rates(STATS, samples(1, memory_bytes=1))
    for few in ([], samples(1, every=3600, cpu_ratio=0.5, running=1), samples(1, cpu_ratio=0.5, running=0)):
        with pytest.raises(ValueError, match="CPU"):
            rates(STATS, few)


def test_the_peak_is_the_busiest_hour_once_a_day_was_seen() -> None:
    day = samples(24, cpu_ratio=0.1, running=1)
    day[600:660] = [replace(each, values={**each.values, "running": 4.0}) for each in day[600:660]]
    assert rates(STATS, day).peak == pytest.approx(4 / (27 / 24))
    assert rates(STATS, day[: 23 * 60]).peak is None


def test_a_span_counts_the_last_sample_too() -> None:
    assert span(samples(3)) == pytest.approx(3)
    assert span([]) == 0
    assert span(samples(1, every=3600)) == 0, "one alone stands for nobody knows how long"


HOST = Rates(36_000, {"cpu": Cost(0.1, 0.1)}, places=4, factor=0.2, slow_factor=0.5, servers=1, fps=25, decoding=0.5)


def test_streams_need_places_and_what_they_use() -> None:
    made = plan(Load(12, live=True), HOST, used=0.7)
    assert [(need.resource, need.hosts) for need in made.needs] == [("places", 3), ("cpu", 2)]
    assert [need.carries for need in made.needs] == pytest.approx([4, 6])
    assert (made.hosts, made.keeps_up, made.gpus, made.peak) == (3, True, 0, 1)


def test_files_come_in_peaks() -> None:
    load = Load(10, live=False)
    assert plan(load, HOST).peak == 2.0, "assumed"
    assert plan(load, replace(HOST, peak=3.0)).rate == 30
    made = plan(load, replace(HOST, peak=3.0), peak=1.5)
    assert (made.rate, made.needs[0].resource, made.hosts) == (15, "cpu", 3)
    assert made.needs[1].carries == pytest.approx(4 * 0.7 / 0.2)


def test_gpus_are_counted_by_hosts() -> None:
    made = plan(Load(100, live=True), replace(HOST, places=0, costs={"gpu": Cost(0.05), "cpu": Cost(0.01)}, gpus=2))
    assert [need.resource for need in made.needs] == ["gpu", "cpu"]
    assert (made.hosts, made.gpus) == (8, 16)


def test_more_frames_cost_the_decoder_more() -> None:
    costs = {"cpu": Cost(0.1), "nvdec": Cost(0.1), "gpu": Cost(0.1)}
    twice = replace(HOST, costs=costs).at(50)
    assert {name: cost.seconds for name, cost in twice.costs.items()} == pytest.approx(
        {"cpu": 0.15, "nvdec": 0.2, "gpu": 0.15}
    )
    assert HOST.at(None) is HOST
    assert replace(HOST, fps=0.0).at(50).costs == HOST.costs


def test_a_host_that_is_busy_at_rest_carries_nothing() -> None:
    with pytest.raises(ValueError, match="busy"):
        plan(Load(1, live=True), replace(HOST, costs={"cpu": Cost(0.1, 0.8)}))


def test_a_slow_stream_falls_behind() -> None:
    made = plan(Load(4, live=True), replace(HOST, factor=0.8, slow_factor=1.2))
    assert not made.keeps_up


@given(st.floats(0.1, 1e4), st.floats(0.1, 1e4), st.booleans())
def test_more_load_never_needs_fewer_hosts(one: float, other: float, live: bool) -> None:
    little, much = sorted((one, other))
    assert plan(Load(little, live), HOST).hosts <= plan(Load(much, live), HOST).hosts
    for need in plan(Load(much, live), HOST).needs:
        assert need.hosts * need.carries >= much * (1 if live else 2) * (1 - 1e-6)


@pytest.mark.parametrize(
    ("text", "rate", "live"),
    [
        ("12 streams", 12, True),
        ("1 stream", 1, True),
        ("480 hours/day", 20, False),
        ("24 hours a day", 1, False),
        ("12 hours per day", 0.5, False),
        ("36 Hours", 1.5, False),
        ("2.5streams", 2.5, True),
    ],
)
def test_loads(text: str, rate: float, live: bool) -> None:
    assert parse_load(text, 50) == Load(rate, live, 50)


@pytest.mark.parametrize("text", ["", "12", "streams", "0 streams", "-1 streams", "5 minutes", "12 streams/day"])
def test_loads_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="a load is such as"):
        parse_load(text)


def test_days_left_of_what_sinks() -> None:
    sinking = [(NOON + timedelta(days=day), 100.0 - 10 * day) for day in range(5)]
    assert days_left(sinking) == pytest.approx(6)
    assert days_left(reversed(sinking)) == pytest.approx(6)
    assert days_left([(time, -value) for time, value in sinking]) is None
    assert days_left([(time, 5.0) for time, _ in sinking]) is None
    assert days_left(sinking[:1]) is None
    assert days_left([]) is None

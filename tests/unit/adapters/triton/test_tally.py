"""Requests of a version, counted."""

from orchestrator.adapters.triton.tally import Tally
from orchestrator.core.rollout import Measured


def test_nothing_was_asked_yet():
    assert Tally().measured(5, 1) == Measured(resident_bytes=5)


def test_times_are_those_of_a_bounded_window():
    tally = Tally()
    for _ in range(1000):
        tally.answered(9.0)
    for number in range(512):
        tally.answered(number / 511)
    measured = tally.measured(0, 1)
    assert measured.requests == 1512
    assert abs(measured.p50_s - 0.5) < 0.01
    assert abs(measured.p95_s - 0.95) < 0.01


def test_failures_are_requests_too():
    tally = Tally()
    tally.answered(1.0)
    tally.failed()
    tally.compare(agreed=False)
    tally.compare(agreed=True)
    measured = tally.measured(0, 1)
    assert (measured.requests, measured.failures, measured.compared, measured.disagreed) == (2, 1, 2, 1)


def test_memory_counts_from_when_every_process_has_warmed_up():
    tally = Tally()
    for _ in range(39):
        tally.answered(0.1)
    assert tally.measured(100, 2).resident_first_bytes == 0
    tally.answered(0.1)
    assert tally.measured(200, 2).resident_first_bytes == 200
    assert tally.measured(300, 2).resident_first_bytes == 200
    tally.loaded()
    fresh = tally.measured(50, 2)
    assert (fresh.resident_bytes, fresh.resident_first_bytes, fresh.requests) == (50, 0, 40)

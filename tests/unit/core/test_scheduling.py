"""Who is next, and who gives way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.jobs import Queued
from orchestrator.core.scheduling import QUANTUM_SECONDS, Place, Service, next_of, to_yield

THEN = datetime(2026, 1, 1, tzinfo=UTC)


def queued(name: str, tenant: str = "", priority: int = 0, age: float = 0.0) -> Queued:
    return Queued(name, tenant, priority, THEN - timedelta(seconds=age), 0, 0, False)


def test_priority_then_the_tenant_with_less_at_work_then_the_least_served_then_age() -> None:
    service = Service()
    assert next_of([], [], service, 0) is None
    urgent, old, young = queued("urgent", "a", 5), queued("old", "a", age=9), queued("young", "b")
    assert next_of([old, young, urgent], [Place("x", "a", 0, 1)], service, 0) is urgent
    assert next_of([old, young], [Place("x", "a", 0, 1)], service, 0) is young
    assert next_of([old, young], [], service, 0) is old
    service.add("old", "a", 3.0, 0.0)
    assert next_of([old, young], [], service, 0) is young
    assert next_of([queued("old", "a", age=9), queued("new", "a")], [], service, 0).id == "new"  # type: ignore[union-attr]


def test_a_tenant_that_was_served_long_ago_counts_as_new() -> None:
    service = Service()
    service.add("x", "a", 100.0, 0.0)
    assert service.of_tenant("a", 0.0) == 100.0
    assert service.of_tenant("a", 300.0) == 50.0
    assert service.of_tenant("a", 3000.0) < 0.2
    service.forget("x")
    assert service.of("x") == 0.0


def test_a_long_analysis_gives_way_to_a_new_one_after_its_quantum_and_takes_turns_then() -> None:
    service = Service()
    new = queued("new")
    assert to_yield([], [Place("long", "", 0, 1e6)], service, 0) is None
    assert to_yield([new], [Place("long", "", 0, QUANTUM_SECONDS / 2)], service, 0) is None
    assert to_yield([new], [Place("long", "", 0, QUANTUM_SECONDS)], service, 0) == "long"
    service.add("new", "", 500.0, 0)  # it was served more than the other by now
    assert to_yield([new], [Place("long", "", 0, QUANTUM_SECONDS)], service, 0) is None


def test_nothing_gives_way_to_what_matters_less() -> None:
    service = Service()
    urgent = Place("urgent", "", 5, 1e6)
    assert to_yield([queued("new")], [urgent], service, 0) is None
    assert to_yield([queued("new", priority=9)], [urgent], service, 0) == "urgent"
    assert to_yield([queued("new")], [urgent, Place("other", "", 0, 1e6)], service, 0) == "other"


@given(st.integers(2, 6), st.integers(1, 3), st.integers(1, 4))
def test_equal_analyses_of_several_tenants_are_served_alike(analyses: int, places: int, tenants: int) -> None:
    """Played in quanta: nobody is ever more than two quanta ahead of another who waits."""
    service, now = Service(), 0.0
    everyone = [queued(str(n), str(n % tenants)) for n in range(analyses)]
    running: list[Queued] = []
    for _ in range(40):
        for _ in range(places):
            waiting = [each for each in everyone if each not in running]
            held = [Place(each.id, each.tenant, 0, QUANTUM_SECONDS) for each in running]
            if len(running) == places and (loser := to_yield(waiting, held, service, now)):
                running = [each for each in running if each.id != loser]
            waiting = [each for each in everyone if each not in running]
            if len(running) < places and waiting:
                chosen = next_of(waiting, [Place(each.id, each.tenant, 0, 0) for each in running], service, now)
                assert chosen is not None
                running.append(chosen)
        now += QUANTUM_SECONDS
        for each in running:
            service.add(each.id, each.tenant, QUANTUM_SECONDS, now)
    if tenants == 1:
        served = [service.of(each.id) for each in everyone]
        assert max(served) - min(served) <= 2 * QUANTUM_SECONDS
    assert all(service.of(each.id) > 0 for each in everyone)

"""Who is next: fair between tenants, and between short and long analyses. Pure.

Among the highest priority that waits, the tenant goes first that has the fewest analyses at work, then the one that was
served least lately; within a tenant the analysis that was served least itself (least attained service: short ones pass
long ones without anyone having to know which is which), then the oldest. So that this holds for what runs already, a
running analysis gives its place up at a segment's end once it has had ``QUANTUM_SECONDS`` and another one deserves it more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from orchestrator.core.jobs import Queued

QUANTUM_SECONDS = 20.0
HALF_LIFE_SECONDS = 300.0  # after which a tenant's service counts half


@dataclass(frozen=True, slots=True)
class Place:
    """An analysis at work: since when it has its place, in seconds."""

    id: str
    tenant: str
    priority: int
    held: float


class Service:
    """Seconds of service, by analysis and (fading) by tenant. ``now`` is any monotonic clock in seconds."""

    def __init__(self) -> None:
        self._analyses: dict[str, float] = {}
        self._tenants: dict[str, tuple[float, float]] = {}

    def add(self, analysis_id: str, tenant: str, seconds: float, now: float) -> None:
        """``analysis_id`` of ``tenant`` has been served."""
        self._analyses[analysis_id] = self.of(analysis_id) + seconds
        self._tenants[tenant] = (self.of_tenant(tenant, now) + seconds, now)

    def forget(self, analysis_id: str) -> None:
        """It has ended."""
        self._analyses.pop(analysis_id, None)

    def of(self, analysis_id: str) -> float:
        """Seconds that an analysis was served."""
        return self._analyses.get(analysis_id, 0.0)

    def of_tenant(self, tenant: str, now: float) -> float:
        """Seconds that a tenant was served lately."""
        seconds, then = self._tenants.get(tenant, (0.0, now))
        return float(seconds * 0.5 ** ((now - then) / HALF_LIFE_SECONDS))


def next_of(queued: Collection[Queued], places: Collection[Place], service: Service, now: float) -> Queued | None:
    """Who gets the next free place."""
    at_work: dict[str, int] = {}
    for place in places:
        at_work[place.tenant] = at_work.get(place.tenant, 0) + 1
    return min(queued, key=lambda each: _rank(each, at_work, service, now), default=None)


def to_yield(queued: Collection[Queued], places: Collection[Place], service: Service, now: float) -> str | None:
    """Which running analysis should give its place up, when every place is taken: the one served most among those that have
    had their quantum and yield to somebody of equal or higher priority who was served less."""
    claimant = next_of(queued, places, service, now)
    if claimant is None:
        return None
    served: Mapping[str, float] = {place.id: service.of(place.id) + place.held for place in places}
    behind = [
        place
        for place in places
        if place.held >= QUANTUM_SECONDS
        and place.priority <= claimant.priority
        and (place.priority < claimant.priority or served[place.id] > service.of(claimant.id))
    ]
    worst = max(behind, key=lambda place: (-place.priority, served[place.id]), default=None)
    return worst.id if worst else None


def _rank(each: Queued, at_work: Mapping[str, int], service: Service, now: float) -> tuple[object, ...]:
    tenant = each.tenant
    return (
        -each.priority,
        at_work.get(tenant, 0),
        service.of_tenant(tenant, now),
        service.of(each.id),
        each.create_time,
        each.id,
    )

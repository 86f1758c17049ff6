"""How long clients wait for an answer."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.core.health import Limits, Reading, Seen, Status, measured

LEAST = 20  # calls, before they are judged


class Latency:
    """``latency``: what 95 % of the unary calls of the last minutes did not exceed. ``recent`` says it in seconds, and of how many."""

    name = "latency"

    def __init__(self, recent: Callable[[], tuple[float, int]], limits: Limits) -> None:
        self._recent, self._limits = recent, limits

    async def look(self) -> Seen:
        """See the port."""
        seconds, count = self._recent()
        detail = f"95 % of {count} calls"
        if count < LEAST:
            reading = Reading(
                "latency", Status.HEALTHY, seconds, "seconds", self._limits, f"{detail}: too few to judge"
            )
        else:
            reading = measured("latency", seconds, "seconds", self._limits, detail)
        return Seen((reading,), {"latency_p95_seconds": seconds})

"""Whether what runs gets on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.core.health import Limits, Reading, Seen, Status

SHARE = 0.5  # of the time after which an analysis is stopped: from then on it is warned of


class Sessions:
    """``sessions``: seconds for which the running analysis that gets on least has not got on. ``stuck`` says after how many it is
    stopped, and tried again; an operator hears of it at half of that."""

    name = "sessions"

    def __init__(self, idle: Callable[[], Mapping[str, float]], stuck: Callable[[], float]) -> None:
        self._idle, self._stuck = idle, stuck

    async def look(self) -> Seen:
        """See the port."""
        idle, limit = self._idle(), self._stuck()
        longest = max(idle.values(), default=0.0)
        limits = Limits(SHARE * limit, limit)
        slow = sorted(name for name, seconds in idle.items() if limits.judge(seconds) is not Status.HEALTHY)
        stuck = sum(seconds >= limit for seconds in idle.values())
        detail = f"{', '.join(slow[:3])} of {len(idle)} at work" if slow else ""
        reading = Reading("sessions", limits.judge(longest), longest, "seconds", limits, detail)
        return Seen((reading,), {"stuck": float(stuck), "longest_idle_seconds": longest})

"""How often something is looked at, and how often something happened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from orchestrator.core.health import Seen, Status
from orchestrator.pipeline.operation_ports import Probe

MINUTE = 60.0


class Seldom:
    """A probe whose look costs something, or changes slowly: asked every ``every`` seconds while all is well, and at each look while it is
    not."""

    def __init__(self, probe: Probe, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe, self._every, self._clock = probe, every, clock
        self._seen: Seen | None = None
        self._next = 0.0

    @property
    def name(self) -> str:
        """See the port."""
        return self._probe.name

    async def look(self) -> Seen:
        """See the port."""
        if self._seen is None or self._clock() >= self._next:
            self._seen = None  # if it raises, it is asked again at once
            seen = await self._probe.look()
            if all(reading.status is Status.HEALTHY for reading in seen.readings):
                self._seen, self._next = seen, self._clock() + self._every
            return seen
        return self._seen


class Rate:
    """How much a counter rose within the last ``seconds``. It begins with the value that it has at the first look."""

    def __init__(self, seconds: float = MINUTE, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._marks: deque[tuple[float, int]] = deque()

    def see(self, total: int) -> int:
        """The rise, now that the counter is at ``total``."""
        now = self._clock()
        self._marks.append((now, total))
        while len(self._marks) > 1 and self._marks[1][0] <= now - self._seconds:
            self._marks.popleft()
        return total - self._marks[0][1]

"""How long calls have lately taken. Pure."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 300.0
KEPT = 4096  # of a busier service the newest


class Recent:
    """Durations of the last minutes, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def add(self, seconds: float) -> None:
        """Something has just ended that took so long."""
        self._seen.append((self._clock(), seconds))

    def p95(self) -> tuple[float, int]:
        """What 95 % did not exceed (nearest rank; 0 where there are none), and how many there were."""
        oldest = self._clock() - WINDOW_SECONDS
        while self._seen and self._seen[0][0] < oldest:
            self._seen.popleft()
        durations = sorted(seconds for _, seconds in self._seen)
        return (durations[math.ceil(0.95 * len(durations)) - 1] if durations else 0.0), len(durations)

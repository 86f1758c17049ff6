"""Whether the wall clock goes on as it should."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from orchestrator.core.health import Limits, Reading, Seen, Status

REMEMBERED_SECONDS = 300.0  # for which a step is told
_TIME_ERROR = 5  # adjtimex(2): nobody keeps the clock
_TIMEX_BYTES = 512  # the structure has 208


def wall_against_boot() -> float:
    """Seconds of the wall clock ahead of the one that counts from the machine's boot, sleep included."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def kept() -> bool:
    """Whether a time server, or a host, keeps the clock."""
    return bool(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) != _TIME_ERROR)


class Clock:
    """``clock``: the size in seconds of the last step within ``REMEMBERED_SECONDS``. Where ``must_be_kept``, a clock that nobody keeps is
    warned of, too."""

    name = "clock"

    def __init__(
        self,
        limits: Limits,
        *,
        must_be_kept: bool = False,
        ahead: Callable[[], float] = wall_against_boot,
        is_kept: Callable[[], bool] = kept,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._must_be_kept = limits, must_be_kept
        self._ahead, self._is_kept, self._clock = ahead, is_kept, clock
        self._before: float | None = None
        self._step, self._stepped = 0.0, 0.0

    async def look(self) -> Seen:
        """See the port."""
        ahead, now = self._ahead(), self._clock()
        step = ahead - self._before if self._before is not None else 0.0
        self._before = ahead
        if self._limits.judge(abs(step)) is not Status.HEALTHY:
            self._step, self._stepped = step, now
        elif now - self._stepped >= REMEMBERED_SECONDS:
            self._step = 0.0
        status = self._limits.judge(abs(self._step))
        detail = f"it jumped by {self._step:+.1f} s" if self._step else ""
        if not self._is_kept():
            detail = "; ".join(filter(None, (detail, "no time server keeps it")))
            status = max(status, Status.WARNING if self._must_be_kept else Status.HEALTHY)
        reading = Reading("clock", status, abs(self._step), "seconds", self._limits, detail)
        return Seen((reading,), {"clock_step_seconds": self._step})

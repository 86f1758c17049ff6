"""A model that is being loaded steps back behind those that answer meanwhile: loading takes a core for a second or so.

Only where it may come back: lowering one's niceness takes the capability CAP_SYS_NICE or a limit that allows it.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

BACK = 10  # niceness while it is loaded
_CAP_SYS_NICE = 23  # capability(7)
_LOWEST = 20  # getrlimit(2): niceness may be lowered to 20 - RLIMIT_NICE

_before: int | None = None


def step_back() -> None:
    """From now on this process is nice. Threads that it starts are, too."""
    global _before
    now = os.getpriority(os.PRIO_PROCESS, 0)
    if _before is None and now < BACK and _may_return(now):
        _before = now
        _set(BACK)


def come_back() -> None:
    """As it was before ``step_back``."""
    global _before
    if _before is not None:
        _set(_before)
        _before = None


def _may_return(niceness: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and int(line.split()[1], 16) >> _CAP_SYS_NICE & 1:
            return True
    return _LOWEST - resource.getrlimit(resource.RLIMIT_NICE)[0] <= niceness


def _set(niceness: int) -> None:
    for thread in os.listdir("/proc/self/task"):  # on Linux each has a niceness of its own
        os.setpriority(os.PRIO_PROCESS, int(thread), niceness)

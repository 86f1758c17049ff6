"""Places where a test lets the process die, as ``kill -9`` would: ``REELSIFT_FAILPOINT=name`` at the first time, ``name:3`` at
the third.

Nothing is cleaned up and nothing is written: what happens next is what a crash there would cause. Without the variable a call
costs one comparison. ``tests/faults`` finds every name in the source and dies at each; call it as ``failpoints.reach``.
"""

from __future__ import annotations

import os
import signal
from itertools import count

VARIABLE = "REELSIFT_FAILPOINT"

_armed = ""
_last = 1
_times = count(1)


def arm(text: str) -> None:
    """Die at ``name`` or ``name:times``; nowhere when empty."""
    global _armed, _last, _times
    _armed, _, times = text.partition(":")
    _last, _times = int(times or 1), count(1)


def reach(name: str) -> None:
    """Die here if ``name`` is the one that is armed, and its time has come."""
    if name == _armed and next(_times) == _last:
        os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get(VARIABLE, ""))

"""The scheduling of this thread, kept from encoders that change it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_priority() -> Iterator[None]:
    """Undo what happens to this thread's scheduling inside. As root, SVT-AV1 puts the thread that calls it in the real-time class,
    above everything else on the machine, and every thread and process that comes from it later inherits that."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)

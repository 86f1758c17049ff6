"""A further version that is being loaded steps back behind those that answer meanwhile: each instance takes a core for a second or so.

Its instances load one after the other, each in a session of its own: where the kernel shares the cores out by session first (autogroups),
that session steps back behind decoders too, which niceness alone cannot bring about. Each is nice as well, where it may come back: that
takes the capability CAP_SYS_NICE or a limit that allows it. What a service begins with is loaded as fast as can be.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import time
from pathlib import Path
from typing import BinaryIO

BACK = 19  # niceness while it is loaded: behind decoders, which are nice too
_CAP_SYS_NICE = 23  # capability(7)
_LOWEST = 20  # getrlimit(2): niceness may be lowered to 20 - RLIMIT_NICE

_AUTOGROUP = Path("/proc/self/autogroup")
_TRIES = 20  # the kernel may refuse two changes of autogroups within 0.1 s, whoever makes them

_LOCK = Path(__file__).with_name("loading.lock")

_before: int | None = None
_turn: BinaryIO | None = None


def is_further() -> bool:
    """Whether this is the process of a further version: its last argument but one is Triton's name for its instance,
    ``MODEL.VERSION_GROUP_NUMBER``.
    """
    arguments = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return len(arguments) > 1 and b"." in arguments[-2].rpartition(b"/")[2]


def step_back() -> None:
    """Wait for this instance's turn; from now on this process is nice. Threads that it starts are, too."""
    global _before, _turn
    _turn = _LOCK.open("wb")
    fcntl.flock(_turn, fcntl.LOCK_EX)
    with contextlib.suppress(PermissionError):  # it leads a group of processes already, so its session is left alone
        os.setsid()
        _share(BACK)
    now = os.getpriority(os.PRIO_PROCESS, 0)
    if _before is None and now < BACK and _may_return(now):
        _before = now
        _set(BACK)


def come_back() -> None:
    """As it was before ``step_back``; another one's turn."""
    global _before, _turn
    if _before is not None:
        _set(_before)
        _before = None
    if _turn is not None:
        if os.getsid(0) == os.getpid():
            _share(0)
        _turn.close()
        _turn = None


def _may_return(niceness: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and int(line.split()[1], 16) >> _CAP_SYS_NICE & 1:
            return True
    return _LOWEST - resource.getrlimit(resource.RLIMIT_NICE)[0] <= niceness


def _set(niceness: int) -> None:
    for thread in os.listdir("/proc/self/task"):  # on Linux each has a niceness of its own
        os.setpriority(os.PRIO_PROCESS, int(thread), niceness)


def _share(niceness: int) -> None:
    """Of this process's session."""
    for _ in range(_TRIES):
        try:
            _AUTOGROUP.write_text(str(niceness))
            return
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:  # this kernel has none
            return

"""The event loop of every command, and the memory under it."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
KEPT, MAPPED = 16 << 20, 8 << 20


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on uvloop. Ctrl-C cancels it, so that it releases what it holds; ``KeyboardInterrupt`` follows."""
    keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def keep_freed_memory() -> None:
    """Let this process keep ``KEPT`` bytes that it freed, and map only blocks above ``MAPPED`` by themselves.

    By its defaults glibc gives the memory of every chunk of an upload back to the kernel, which clears it again for the next: that was more
    than half of what gRPC costs (client and server together 2.9 CPU seconds per GB in chunks of 1 MiB, and 1.2 so). Elsewhere than
    on glibc nothing happens.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MAPPED)
        mallopt(_M_TRIM_THRESHOLD, KEPT)

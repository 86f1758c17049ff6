"""Whether videos can be decoded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from orchestrator.adapters.probes.pace import MINUTE, Rate
from orchestrator.core.health import Limits, Seen, measured, up


class Workers(Protocol):
    """What there is to see of decode workers."""

    @property
    def alive(self) -> bool:
        """Whether new ones can be had."""
        ...

    @property
    def workers(self) -> int:
        """How many are at work."""
        ...

    @property
    def crashes(self) -> int:
        """How many have died at work since the start."""
        ...

    @property
    def free(self) -> float:
        """Share of the memory for frames that nobody has, 0..1."""
        ...

    async def start(self) -> None:
        """Start what new ones are had from, if it is gone."""
        ...


class Decoders:
    """``decoders``: the fork server lives, and workers do not die too often; ``crashes`` are the limits within ``seconds``.

    A fork server that died is started anew here, without waiting for somebody who wants to decode: one that dies again and again is bad at
    every look.
    """

    name = "decoders"

    def __init__(
        self,
        workers: Workers,
        crashes: Limits,
        seconds: float = MINUTE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers, self._crashes = workers, crashes
        self._rate = Rate(seconds, clock)

    async def look(self) -> Seen:
        """See the port."""
        crashes = self._rate.see(self._workers.crashes)
        values = {"decoders": float(self._workers.workers), "arena_free_ratio": self._workers.free}
        if not self._workers.alive:
            await self._workers.start()
            return Seen((up("decoders", False, "the fork server is dead, or stopped"),), values)
        detail = "" if not crashes else "workers that died at work within a minute"
        return Seen((measured("decoders", crashes, "crashes", self._crashes, detail),), values)

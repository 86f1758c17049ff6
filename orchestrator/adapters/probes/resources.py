"""Memory and cores: what the service and its processes use, and what is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from orchestrator.adapters.probes.cgroup import Machine
from orchestrator.core.health import Limits, Seen, measured

MIB, GIB = 1 << 20, 1 << 30
WEIGH_SECONDS = 60.0  # between two looks at how much memory is whose: they walk every page table
MEAN_SECONDS = 300.0  # of the mean that the limits of the cores judge


class Resources:
    """``memory``: the used share of the machine or of the control group, whichever is tighter. ``cpu``: the used share of the machine's
    cores, as a mean over minutes like the load average: a service that analyses uses what it gets, so less than that says nothing.
    """

    name = "memory"

    def __init__(
        self,
        memory: Limits,
        cpu: Limits,
        machine: Machine | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memory, self._cpu, self._machine, self._clock = memory, cpu, machine or Machine(), clock
        self._service = psutil.Process()
        self._spent: dict[tuple[int, float], float] = {}
        self._looked: float | None = None
        self._weighed, self._weight = -WEIGH_SECONDS, 0
        self._mean = 0.0

    async def look(self) -> Seen:
        """See the port."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> Seen:
        now = self._clock()
        passed = now - self._looked if self._looked is not None else 0.0
        self._looked = now
        family = [self._service, *self._service.children(recursive=True)]
        own = self._own_share(family, passed)
        whole = psutil.cpu_percent() / 100  # since the look before
        self._mean += (whole - self._mean) * min(1.0, passed / MEAN_SECONDS)
        if now - self._weighed >= WEIGH_SECONDS:
            self._weighed, self._weight = now, sum(map(_bytes_of, family))
        room = self._machine.memory()
        used = 1 - room.available / room.total
        detail = (
            f"{room.available / GIB:.1f} GiB left of {room.total / GIB:.1f} GiB; {self._weight / MIB:.0f} MiB are ours"
        )
        readings = (
            measured("memory", used, "ratio", self._memory, detail),
            measured("cpu", self._mean, "ratio", self._cpu, f"{own:.0%} is ours now"),
        )
        values = {
            "memory_bytes": float(self._weight),
            "memory_available_bytes": float(room.available),
            "memory_limit_bytes": float(room.total),
            "memory_used_ratio": used,
            "cpu_ratio": own,
            "cpu_used_ratio": whole,
        }
        return Seen(readings, values)

    def _own_share(self, family: list[psutil.Process], passed: float) -> float:
        """Of the cores that we may use, since the look before. What a process did between that look and its end is not seen."""
        spent: dict[tuple[int, float], float] = {}
        for process in family:
            with suppress(psutil.Error):
                times = process.cpu_times()
                spent[process.pid, process.create_time()] = times.user + times.system
        grown = sum(max(0.0, seconds - self._spent.get(key, 0.0)) for key, seconds in spent.items())
        first, self._spent = not self._spent, spent
        return 0.0 if first or passed <= 0 else grown / passed / self._machine.cores()


def _bytes_of(process: psutil.Process) -> int:
    """Its memory, of which shared pages count in proportion."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0

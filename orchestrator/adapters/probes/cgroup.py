"""What the machine, or the control group that the service runs in, has of memory and of cores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. ``available``: what could be had without swapping."""

    total: int
    available: int


class Machine:
    """Reads ``/proc`` and control groups, version 1 and 2; the tightest limit counts. ``proc`` and ``root``: where they are mounted."""

    def __init__(self, proc: Path = PROC, root: Path = ROOT) -> None:
        self._proc = proc
        groups = _groups(proc)
        self._memory = list(_folders(root, groups, "memory"))
        self._cpu = list(_folders(root, groups, "cpu"))

    def memory(self) -> Memory:
        """What there is, and how much of it is left."""
        fields = _fields(self._proc / "meminfo")
        found = Memory(fields["MemTotal:"] * 1024, fields["MemAvailable:"] * 1024)
        for folder in self._memory:
            limit = _number(folder, "memory.max", "memory.limit_in_bytes")
            used = _number(folder, "memory.current", "memory.usage_in_bytes")
            if limit is None or used is None or limit >= found.total:
                continue
            stat = _fields(folder / "memory.stat")
            cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))  # given back when it is needed
            left = max(0, limit - max(0, used - cache))
            found = Memory(limit, min(left, found.available))
        return found

    def cores(self) -> float:
        """How many this process may use, on average."""
        cores = float(len(os.sched_getaffinity(0)))
        for folder in self._cpu:
            quota = _quota(folder)
            if quota is not None:
                cores = min(cores, quota)
        return cores


def _groups(proc: Path) -> Mapping[str, str]:
    """Path of our group by controller; of version 2 under the empty name."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _folders(root: Path, groups: Mapping[str, str], controller: str) -> Iterator[Path]:
    """Folders of our group and of those above it, as far as they are to be seen: in a container only the mount itself is."""
    for mount, path in ((root / controller, groups.get(controller)), (root, groups.get(""))):
        if path is None:
            continue
        folder = mount / path.lstrip("/")
        for each in (folder, *folder.parents):
            if each.is_relative_to(mount) and each.is_dir():
                yield each


def _number(folder: Path, *names: str) -> int | None:
    for name in names:
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        return None if text == "max" else int(text)
    return None


def _quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except OSError:
        limit, span = _number(folder, "cpu.cfs_quota_us"), _number(folder, "cpu.cfs_period_us")
        return limit / span if limit is not None and span and limit > 0 else None
    return None if quota == "max" else int(quota) / int(period)


def _fields(file: Path) -> dict[str, int]:
    try:
        rows = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}

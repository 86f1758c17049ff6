"""CPU time of process trees, from ``/proc``: exact for whatever is reaped by its parent inside the tree.

The kernel adds a child's times to its parent's ``cutime``/``cstime`` when the parent waits for it. So the sum of
``utime + stime + cutime + cstime`` over the living (and zombie) processes of a tree never loses an ended one, and the
difference of two sums is what the tree used in between, however short-lived its children were.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """A process: CPU seconds of its own, and of the children that it has waited for."""

    pid: int
    arguments: tuple[str, ...]
    own: float
    reaped: float


def tree(root: int) -> list[Process]:
    """``root`` (first) and all its descendants. Raises ``ProcessLookupError`` when ``root`` is gone."""
    stats: dict[int, list[str]] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                # pid (name) state ppid ...; the name may hold spaces and parentheses
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                stats[int(entry)] = fields
                children[int(fields[1])].append(int(entry))
    if root not in stats:
        raise ProcessLookupError(f"no process {root}")
    found, queue = [], [root]
    while queue:
        pid = queue.pop(0)
        utime, stime, cutime, cstime = (int(field) * _TICK for field in stats[pid][11:15])
        found.append(Process(pid, _arguments(pid), utime + stime, cutime + cstime))
        queue += children[pid]
    return found


def tree_cpu(root: int) -> float:
    """CPU seconds of the tree so far, ended processes included."""
    return sum(process.own + process.reaped for process in tree(root))


class Meter:
    """Context manager: ``seconds`` is what ``root`` and all below it used meanwhile, for trees in which processes vanish without being
    waited for. What a process used is what it was last seen with (once a second, and at the end), so little is lost of those that end.
    """

    seconds: float

    def __init__(self, root: int) -> None:
        self._root, self._over = root, threading.Event()
        self._seen: dict[int, float] = {}
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Meter:
        self._look()
        self._before = dict(self._seen)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self.seconds = sum(self._seen.values()) - sum(self._before.values())

    def _look(self) -> None:
        for process in tree(self._root):
            self._seen[process.pid] = process.own

    def _look_on(self) -> None:
        while not self._over.wait(1.0):
            self._look()


def by_kind(root: int) -> dict[str, float]:
    """CPU seconds so far of a reelsift server, by kind of process. The kinds add up to ``tree_cpu``."""
    seconds: dict[str, float] = defaultdict(float)
    for process in tree(root):
        is_root = process.pid == root
        seconds["orchestrator" if is_root else kind(process.arguments)] += process.own
        # The orchestrator itself waits for the decoders' fork server alone, should it die (its guard lives as long as itself does).
        seconds["decode worker" if is_root else kind(process.arguments)] += process.reaped
    return dict(seconds)


def kind(arguments: tuple[str, ...]) -> str:
    """The kind of a process below a reelsift server, by its command line."""
    program = Path(arguments[0]).name if arguments else ""
    if program == "triton_python_backend_stub":
        return f"model {Path(arguments[1]).parts[-3]}"  # REPOSITORY/MODEL/VERSION/model.onnx
    if program == "tritonserver" or any(argument.endswith("guard.py") for argument in arguments):
        return "tritonserver"
    return "decode worker" if "orchestrator.adapters.decoders.forkserver" in arguments else "other"


def settle(root: int, quiet: float = 0.5, patience: float = 30.0) -> None:
    """Wait until the tree uses less than 5 % of a core for ``quiet`` seconds. Raises ``TimeoutError``."""
    deadline = time.monotonic() + patience
    before = tree_cpu(root)
    while time.monotonic() < deadline:
        time.sleep(quiet)
        now = tree_cpu(root)
        if now - before < 0.05 * quiet:
            return
        before = now
    raise TimeoutError(f"the processes below {root} do not come to rest")


def busy() -> float:
    """CPU seconds that the cores of this process have been taken so far, by anyone (stolen time included)."""
    cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    total = 0.0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in cores:
            user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
            total += (user + nice + system + irq + softirq + steal) * _TICK
    return total


class Others:
    """Context manager: ``cores`` is how many of our cores other processes took on average meanwhile."""

    cores: float

    def __enter__(self) -> Others:
        self._start = time.monotonic(), busy(), tree_cpu(os.getpid())
        return self

    def __exit__(self, *_: object) -> None:
        wall, taken, own = self._start
        seconds = busy() - taken - (tree_cpu(os.getpid()) - own)
        self.cores = max(0.0, seconds / (time.monotonic() - wall))


def _arguments(pid: int) -> tuple[str, ...]:
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0"))
    except OSError:
        return ()

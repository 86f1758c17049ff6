"""Triton's stub processes: one per model instance, a child of the server, whose death the server itself never
repairs.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.frames.shm import SHM


@dataclass(frozen=True, slots=True)
class Stub:
    """A stub process; ``region`` is the shared memory between it and the server, below ``/dev/shm``."""

    pid: int
    model: str
    region: str


class StubWatch:
    """Knows the stubs of one server and tells at once when one ends (a pidfd becomes readable)."""

    def __init__(self, server_pid: int, on_death: Callable[[Stub], None]) -> None:
        self._server_pid, self._on_death = server_pid, on_death
        self._watched: dict[int, tuple[Stub, int]] = {}
        self._forgotten: set[str] = set()  # regions of stubs that may live on for a while, unloading

    def of(self, model: str) -> list[Stub]:
        """The living stubs of ``model``."""
        return [stub for stub, _ in self._watched.values() if stub.model == model]

    def discover(self) -> None:
        """Watch stubs that have started since the last call."""
        for entry in os.listdir("/proc"):
            pid = int(entry) if entry.isdigit() else 0
            stub = self._stub(pid) if pid and pid not in self._watched else None
            if stub is not None and stub.region not in self._forgotten:
                with suppress(ProcessLookupError):
                    fd = os.pidfd_open(stub.pid)
                    self._watched[stub.pid] = (stub, fd)
                    asyncio.get_running_loop().add_reader(fd, self._ended, stub.pid)

    def forget(self, stub: Stub) -> None:
        """Watch ``stub`` no longer: its end is wanted."""
        _, fd = self._watched.pop(stub.pid, (None, -1))
        self._forgotten.add(stub.region)
        if fd >= 0:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)

    def close(self) -> None:
        """Watch none any more."""
        for stub, _ in list(self._watched.values()):
            self.forget(stub)

    def _ended(self, pid: int) -> None:
        stub = self._watched[pid][0]
        self.forget(stub)
        self._on_death(stub)

    def _stub(self, pid: int) -> Stub | None:
        with suppress(OSError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) != self._server_pid or fields[0] in "ZX":
                return None
            # triton_python_backend_stub MODEL_PATH REGION ... INSTANCE BACKEND_FOLDER; an instance is
            # MODEL_GROUP_NUMBER
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
            if arguments[0].endswith("triton_python_backend_stub"):
                return Stub(pid, arguments[-2].rsplit("_", 2)[0], arguments[2])
        return None


async def bury(stubs: list[Stub], grace_s: float) -> None:
    """Let ``stubs`` of an unloaded model finish for ``grace_s`` seconds, then kill them, and free their shared memory.

    The server frees neither when a sibling of theirs has died: its unloading waits for ever.
    """
    deadline = asyncio.get_running_loop().time() + grace_s
    while any(_alive(stub) for stub in stubs) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.1)
    for stub in stubs:
        if _alive(stub):
            with suppress(ProcessLookupError):
                os.kill(stub.pid, signal.SIGKILL)
        (SHM / stub.region).unlink(missing_ok=True)


def _alive(stub: Stub) -> bool:
    try:
        return stub.region.encode() in Path(f"/proc/{stub.pid}/cmdline").read_bytes()  # empty for a zombie
    except OSError:
        return False

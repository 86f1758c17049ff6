"""Programs of Debian's packages for tests, without root: the machine's own where it has them, else fetched once into the user's cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_path

from orchestrator.adapters.triton import libpython

_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd", "lib/systemd")


@dataclass(frozen=True)
class Tool:
    """A program, and the environment that it needs besides ours."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, check: bool = True, **more: object) -> subprocess.CompletedProcess[str]:
        """Run it; both outputs are text."""
        done = subprocess.run(  # type: ignore[call-overload]
            [self.path, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            **more,
        )
        assert not check or done.returncode == 0, f"{self.path.name} left with {done.returncode}: {done.stderr}"
        return done  # type: ignore[no-any-return]


def tool(package: str, path: str, *needs: str) -> Tool:
    """The program at ``path`` (without the first slash, or its bare name) of ``package``, which ``needs`` the libraries of other packages.

    Raises what apt raises where it can be had from nowhere: a test without its tool fails.
    """
    if found := shutil.which(Path(path).name):
        return Tool(Path(found))
    root = user_cache_path("reelsift") / "tools" / f"debian-{package}"
    with _only_one(root.with_suffix(".lock")):
        if not root.is_dir():
            _fetch(root, package, *needs)
    libraries = ":".join(str(root / folder) for folder in _LIBRARIES if (root / folder).is_dir())
    return Tool(root / path, {"LD_LIBRARY_PATH": libraries} if libraries else {})


def _fetch(root: Path, *packages: str) -> None:
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="fetch-") as scratch:
        unpacked = Path(scratch) / "unpacked"
        for package in libpython.download(Path(scratch), *packages):
            subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True, capture_output=True)
        unpacked.rename(root)


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield

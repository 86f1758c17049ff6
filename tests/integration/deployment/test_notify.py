"""The real ``reelsift serve`` under a service manager's eyes: what it says on a real datagram socket, and when."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.server import REELSIFT, START_SECONDS, STOP_SECONDS, environment, wait_until

WATCHDOG_SECONDS = 1.5
DRAIN_SECONDS = 3


class Hearing:
    """A manager's socket, and all that was said there, with the time."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.said: list[tuple[float, dict[str, str]]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                text = self._socket.recv(4096).decode()
            except OSError:
                return
            self.said.append((time.monotonic(), dict(line.split("=", 1) for line in text.split("\n"))))

    def times(self, name: str) -> list[float]:
        """When something was said."""
        return [at for at, words in list(self.said) if name in words]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def hearing(tmp_path: Path) -> Iterator[Hearing]:
    with closing(Hearing(tmp_path / "notify")) as hearing:
        yield hearing


@pytest.fixture
def serving(hearing: Hearing, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service, started as systemd would start it."""
    variables = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6)),
        "REELSIFT_LISTEN": f"unix:{tmp_path}/api",
        "REELSIFT_HTTP_LISTEN": f"unix:{tmp_path}/http",
        "REELSIFT_DATA_DIR": str(tmp_path / "data"),
        "REELSIFT_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "REELSIFT_CONFIG": str(tmp_path / "reelsift.toml"),
    }
    (tmp_path / "reelsift.toml").write_text('log_level = "info"')
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([REELSIFT, "serve"], env=environment() | variables, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_life_of_a_service(hearing: Hearing, serving: subprocess.Popen[bytes], tmp_path: Path) -> None:
    log = tmp_path / "log"
    wait_until(lambda: bool(hearing.times("READY")) or serving.poll() is not None, START_SECONDS, "READY=1")
    assert serving.poll() is None, log.read_text()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "http")), base_url="http://reelsift") as client:
        assert client.get("/readyz").status_code == 200  # at once: ready means that it serves
    assert not hearing.times("STOPPING")
    (words,) = (words for _, words in hearing.said if "READY" in words)
    assert words["STATUS"] == f"serving at unix:{tmp_path}/api"

    inherited = [
        process.pid
        for process in psutil.Process(serving.pid).children(recursive=True)
        if {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(process.environ())
    ]
    assert not inherited, "no child speaks in its name"

    time.sleep(2 * WATCHDOG_SECONDS)
    pings = hearing.times("WATCHDOG")
    assert len(pings) >= 5
    assert max(later - earlier for earlier, later in itertools.pairwise(pings)) < WATCHDOG_SECONDS
    assert pings[0] >= hearing.times("READY")[0]  # a start may take long, and is not watched

    os.kill(serving.pid, signal.SIGSTOP)  # hangs, as far as anybody can see
    time.sleep(0.2)
    before = len(hearing.times("WATCHDOG"))
    time.sleep(2 * WATCHDOG_SECONDS)
    assert len(hearing.times("WATCHDOG")) == before
    os.kill(serving.pid, signal.SIGCONT)
    wait_until(lambda: len(hearing.times("WATCHDOG")) > before, 5, "it is heard again")

    for text, said in (('log_level = "warning"', "settings.reloaded"), ("log_level = 3", "settings.refused")):
        known, heard = len(hearing.times("READY")), len(hearing.times("RELOADING"))
        (tmp_path / "reelsift.toml").write_text(text)
        serving.send_signal(signal.SIGHUP)
        wait_until(lambda known=known: len(hearing.times("READY")) > known, 5, "ready again")  # type: ignore[misc]
        assert len(hearing.times("RELOADING")) == heard + 1
        assert hearing.times("RELOADING")[-1] <= hearing.times("READY")[-1]
        assert said in log.read_text()

    asked = time.monotonic()
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(STOP_SECONDS) == 0, log.read_text()
    (stopping,) = hearing.times("STOPPING")
    assert asked <= stopping < asked + 1
    (words,) = (words for _, words in hearing.said if "STOPPING" in words)
    assert int(words["EXTEND_TIMEOUT_USEC"]) > DRAIN_SECONDS * 1e6
    assert hearing.times("READY")[-1] < stopping

"""What a service manager hears: a real datagram socket, as systemd has one."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.adapters.service_manager import PINGS, ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Its socket, and the address as it stands in NOTIFY_SOCKET."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@reelsift-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(address.replace("@", "\0", 1) if request.param == "abstract" else address)
        listening.settimeout(5)
        yield listening, address


def heard(listening: socket.socket) -> dict[str, str]:
    """The next datagram."""
    return dict(line.split("=", 1) for line in listening.recv(4096).decode().split("\n"))


def test_the_states_of_a_service(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    service = ServiceManager(address)
    service.ready("serving at unix:/a=b")
    assert heard(listening) == {"READY": "1", "STATUS": "serving at unix:/a=b"}
    before = time.monotonic_ns() // 1000
    service.reloading()
    said = heard(listening)
    assert said.pop("RELOADING") == "1"
    assert before <= int(said.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
    assert not said
    service.stopping(2.5)
    assert heard(listening) == {"STOPPING": "1", "STATUS": "draining", "EXTEND_TIMEOUT_USEC": "2500000"}


async def test_it_is_pinged_while_the_loop_turns(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    listening.setblocking(False)
    period = 0.3
    pinging = asyncio.create_task(ServiceManager(address, period).keep_watched())
    loop = asyncio.get_running_loop()
    began, pings = loop.time(), 0
    while pings < 2 * PINGS:
        assert (await loop.sock_recv(listening, 100)) == b"WATCHDOG=1"
        pings += 1
    assert loop.time() - began < 2 * period + 1  # so often that none is missed
    time.sleep(0.4)  # noqa: ASYNC251  the loop hangs, and says nothing
    with pytest.raises(BlockingIOError):
        listening.recv(100)
    pinging.cancel()


async def test_nobody_watches() -> None:
    await asyncio.wait_for(ServiceManager("/nowhere").keep_watched(), 1)


@pytest.mark.parametrize(
    ("given", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_environment_names_it_and_children_do_not_inherit_it(given: dict[str, str], watchdog_s: float) -> None:
    environment = {"NOTIFY_SOCKET": "/run/notify", "PATH": "/bin", **given}
    assert ServiceManager.of_environment(environment) == ServiceManager("/run/notify", watchdog_s)
    assert environment == {"PATH": "/bin"}


def test_without_one_nobody_is_told() -> None:
    service = ServiceManager.of_environment({"WATCHDOG_USEC": "1000"})
    assert service == ServiceManager()
    service.ready("serving")


def test_one_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    ServiceManager(str(tmp_path / "gone")).ready("serving")


def test_one_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(tmp_path / "notify"))
        service = ServiceManager(str(tmp_path / "notify"))
        began = time.monotonic()
        for _ in range(10_000):  # more than a queue of datagrams holds
            service.reloading()
            if time.monotonic() - began > 0.4:
                break
        else:
            pytest.fail("the queue never was full")
        assert time.monotonic() - began < 5

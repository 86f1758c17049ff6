"""Addresses, the beginning, the end, and the process around it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
import structlog
import uvloop

from orchestrator.api.http.server import http_server
from orchestrator.errors import SetupError
from tests.integration.http.conftest import Serve, serving
from tests.integration.http.scripted import STARTED, ScriptedAnalyses, ScriptedSearches, segment

API = "/api/v1"


async def _ready() -> dict[str, bool]:
    return {}


async def test_a_port_of_its_own_choice(serve: Serve) -> None:
    async with serve(port=True) as running:
        assert running.address.startswith("127.0.0.1:")
        assert not running.address.endswith(":0")
        assert (await running.client.get("/healthz")).json() == {"live": True}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*running.address.split(":"))


async def test_answers_do_not_wait_for_acknowledgements(serve: Serve) -> None:
    """Headers and body leave in two packets: with Nagle's algorithm the second waits some 40 ms for the first's ACK."""
    async with serve(port=True) as running:
        took = []
        for _ in range(10):
            began = time.monotonic()
            await running.client.get("/healthz")
            took.append(time.monotonic() - began)
        assert min(took) < 0.03


async def test_a_taken_port() -> None:
    async with serving(port=True) as running:
        with pytest.raises(SetupError) as caught:
            async with http_server(ScriptedAnalyses(), ScriptedSearches(), None, running.address, ready=_ready):
                pass
    assert "bound" in str(caught.value)


@pytest.mark.parametrize(
    "listen", ["", "8080", "nowhere.invalid:1", "127.0.0.1:99999", "127.0.0.1:x", "unix:/no/such/folder/s"]
)
async def test_an_address_that_cannot_be(listen: str) -> None:
    with pytest.raises(SetupError):
        async with http_server(ScriptedAnalyses(), ScriptedSearches(), None, listen, ready=_ready):
            pass


async def test_a_socket_that_a_dead_server_left_is_taken_over_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    path = tmp_path / "http"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with http_server(ScriptedAnalyses(), ScriptedSearches(), None, f"unix:{path}", ready=_ready):
        with pytest.raises(SetupError):
            async with http_server(ScriptedAnalyses(), ScriptedSearches(), None, f"unix:{path}", ready=_ready):
                pass
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
            assert (await client.get("http://x/healthz")).status_code == 200
    assert not path.exists()
    path.write_text("a file of somebody")
    with pytest.raises(SetupError):
        async with http_server(ScriptedAnalyses(), ScriptedSearches(), None, f"unix:{path}", ready=_ready):
            pass
    assert path.read_text() == "a file of somebody"


@pytest.mark.parametrize(("listen", "warned"), [("0.0.0.0:0", True), ("127.0.0.1:0", False), ("[::1]:0", False)])
async def test_listening_beyond_this_machine_is_told(listen: str, warned: bool) -> None:
    with structlog.testing.capture_logs() as logs:
        async with http_server(ScriptedAnalyses(), ScriptedSearches(), None, listen, ready=_ready) as address:
            assert address.rpartition(":")[0] == listen.rpartition(":")[0]
    assert warned == any(each["event"] == "http.listening_beyond_this_machine" for each in logs)


async def test_readiness(serve: Serve) -> None:
    for checks, status, told in (
        ({"store": True, "inference": True}, 200, {"ready": True, "checks": {"store": True, "inference": True}}),
        ({"store": True, "inference": False}, 503, {"ready": False, "checks": {"store": True, "inference": False}}),
        (RuntimeError("/secret"), 503, {"ready": False, "checks": {}}),
    ):
        async with serve(checks=checks) as running:
            answer = await running.client.get("/readyz")
            assert (answer.status_code, answer.json()) == (status, told)
            assert (await running.client.get("/healthz")).status_code == 200


async def test_a_check_that_hangs_is_no_readiness(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.api.http.health.READY_SECONDS", 0.05)

    async def hanging() -> dict[str, bool]:
        await asyncio.sleep(60)
        return {}

    async with (
        http_server(ScriptedAnalyses(), ScriptedSearches(), None, "127.0.0.1:0", ready=hanging) as address,
        httpx.AsyncClient() as client,
    ):
        assert (await client.get(f"http://{address}/readyz")).status_code == 503


async def test_each_request_is_logged_once() -> None:
    with structlog.testing.capture_logs() as logs:
        async with serving() as running:
            name = await running.analysed()
            await running.client.get(f"{API}/analyses/{name}")
            await running.client.get(f"{API}/search?query=private+words")
            await running.client.get("/nothing")
            await running.client.get("/healthz")
    calls = [each for each in logs if each["event"] == "http.call" and each["log_level"] == "info"]
    assert [(each["method"], each["path"], each["status"], each["reason"]) for each in calls] == [
        ("POST", f"{API}/analyses", 201, ""),
        ("GET", f"{API}/analyses/{name}", 200, ""),
        ("GET", f"{API}/search", 200, ""),
        ("GET", "/nothing", 404, "UNKNOWN_ROUTE"),
    ]
    assert [each["analysis_id"] for each in calls] == [name, name, "", ""]
    assert "private" not in str(logs), "what people search for is theirs"


async def test_signals_are_left_to_whoever_runs_it(serve: Serve) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serve():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_it_runs_on_uvloop() -> None:
    async def main() -> int:
        async with serving() as running:
            name = await running.uploading()
            answer = await running.client.put(f"{API}/analyses/{name}/media", content=os.urandom(1 << 20))
            return answer.status_code

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == 200


async def test_the_end_waits_for_nobody_who_does_not_read(serve: Serve) -> None:
    """An idle connection, a stream that waits, and one whose client stopped reading."""
    async with serve(ScriptedAnalyses(script=(STARTED,)), grace=0.3) as running:
        path = running.address.removeprefix("unix:")
        name = await running.uploading()
        running.analyses[name].extend(STARTED, *(segment(i, jpeg=bytes(100_000)) for i in range(100)))
        kept = []
        for request in ("", f"GET {API}/analyses/{name}/events HTTP/1.1\r\nHost: x\r\n\r\n"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
            connection.sendall(request.encode())
            kept.append(connection)
        await asyncio.sleep(0.2)
        assert running.analyses[name].readers == 1
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert running.analyses[name].readers == 0
    for connection in kept:
        connection.close()

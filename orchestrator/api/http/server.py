"""The HTTP server: uvicorn in this process and on this event loop, beside the gRPC server."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.api.http.app import http_app
from orchestrator.api.http.errors import error_response
from orchestrator.api.http.route import Readiness, Services
from orchestrator.api.ports import Analyses, Operations, Rollouts, Searches
from orchestrator.api.server import loopback
from orchestrator.errors import InvalidRequest, SetupError
from orchestrator.pipeline.telemetry import Telemetry

log = structlog.get_logger(__name__)

BACKLOG = 512
ABORT_SECONDS = 5.0
MAX_HEAD_BYTES = 64 << 10  # of a request's line and headers


@asynccontextmanager
async def http_server(
    analyses: Analyses,
    searches: Searches,
    rollouts: Rollouts | None,
    listen: str,
    *,
    ready: Readiness,
    operations: Operations | None = None,
    telemetry: Telemetry | None = None,
    grace: float = 5.0,
) -> AsyncIterator[str]:
    """A server for the application's ports at ``listen`` (``HOST:PORT``, port 0 picks one, or ``unix:PATH``); yields the address for
    clients. ``ready`` answers /readyz, ``telemetry`` /metrics.

    It stops when the context ends, giving running requests ``grace`` seconds. Raises ``SetupError`` for a taken address.
    """
    app = http_app(Services.of(analyses, searches, rollouts, operations, ready, telemetry or Telemetry()))
    config = uvicorn.Config(
        app,
        http=_Protocol,  # by name: "auto" depends on what else is installed
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # the application logs each request, and what went wrong in it
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=grace,  # type: ignore[arg-type]  # it may well be a fraction
    )
    with _bound(listen) as (listener, address):
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            while not (server.started or serving.done()):
                await asyncio.sleep(0.01)
            if serving.done():
                serving.result()
            log.info("http.listening", address=address)
            yield address
        finally:
            server.stop()
            await serving
            await server.abort()


class _Protocol(H11Protocol):
    """HTTP/1.1."""

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of every error, and break off."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = error_response(InvalidRequest("this is no HTTP/1.1 request"))
            headers = [*response.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=response.status_code, headers=headers, reason=b"Bad Request"),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone: whoever runs it tells it to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Begin the end."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Wait for ``stop``, and keep the Date header right: uvicorn itself looks ten times a second."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stopping.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def abort(self) -> None:
        """Break off connections whose clients do not read: closing them would wait for these clients."""
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        if self.server_state.tasks:  # cancelled already
            await asyncio.wait(self.server_state.tasks, timeout=ABORT_SECONDS)


@contextmanager
def _bound(listen: str) -> Iterator[tuple[socket.socket, str]]:
    """The listening socket, and its address for clients."""
    if listen.startswith("unix:"):
        path = listen.removeprefix("unix:")
        listener = _unix_socket(path)
        try:
            yield listener, listen
        finally:
            listener.close()
            with suppress(FileNotFoundError):
                os.unlink(path)
        return
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 1 << 16:
        raise SetupError(f"the address must be HOST:PORT or unix:PATH, got {listen!r}")
    if not loopback(host):
        log.warning("http.listening_beyond_this_machine", host=host, hint="no authentication, no encryption")
    with _tcp_socket(host, int(port)) as listener:
        yield listener, f"{host}:{listener.getsockname()[1]}"


def _tcp_socket(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # With its protocol named: asyncio sets TCP_NODELAY on no other, and each answer would wait 40 ms for an ACK
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SetupError("the HTTP server's address is none of this machine") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SetupError("the HTTP server's address cannot be bound: is it taken, or not of this machine?") from error
    return listener


def _unix_socket(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SetupError("the HTTP server's socket cannot be bound: is it taken, or its folder missing?") from error
    return listener


def _remove_stale(path: str) -> None:
    """Remove the socket that a dead server has left; one that answers stays."""
    if not (os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode)):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)

"""The gRPC server: services, limits, health and its orderly end."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from orchestrator.api.analysis_handlers import AnalysisHandlers
from orchestrator.api.gen.reelsift.v1 import analysis_pb2, model_pb2, operations_pb2, search_pb2
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import add_AnalysisServiceServicer_to_server
from orchestrator.api.gen.reelsift.v1.model_pb2_grpc import add_ModelServiceServicer_to_server
from orchestrator.api.gen.reelsift.v1.operations_pb2_grpc import add_OperationsServiceServicer_to_server
from orchestrator.api.gen.reelsift.v1.search_pb2_grpc import add_SearchServiceServicer_to_server
from orchestrator.api.interceptors import Boundary
from orchestrator.api.limits import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES
from orchestrator.api.model_handlers import ModelHandlers
from orchestrator.api.operations_handlers import OperationsHandlers
from orchestrator.api.ports import Analyses, Operations, Rollouts, Searches
from orchestrator.api.search_handlers import SearchHandlers
from orchestrator.errors import SetupError
from orchestrator.pipeline.telemetry import Telemetry

log = structlog.get_logger(__name__)

SERVICE = analysis_pb2.DESCRIPTOR.services_by_name["AnalysisService"].full_name
SEARCH_SERVICE = search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name
MODEL_SERVICE = model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
OPERATIONS_SERVICE = operations_pb2.DESCRIPTOR.services_by_name["OperationsService"].full_name

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
    ("grpc.so_reuseport", 0),  # two servers on one port would share its calls by chance
    ("grpc.keepalive_time_ms", 30_000),  # find clients that vanished without a word
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 5),
)


class GrpcServer:
    """A running server. ``address`` is what a client connects to."""

    def __init__(
        self, server: grpc.aio.Server, health_servicer: health.aio.HealthServicer, services: Sequence[str], address: str
    ) -> None:
        self._server = server
        self._health = health_servicer
        self._services = services
        self.address = address

    async def set_serving(self, serving: bool) -> None:
        """What health answers for the server and its services; nothing changes any more once draining."""
        state = health_pb2.HealthCheckResponse
        for name in ("", *self._services):
            await self._health.set(name, state.SERVING if serving else state.NOT_SERVING)

    async def drain(self) -> None:
        """Answer NOT_SERVING from now on, so that load balancers look elsewhere; calls go on."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """Refuse new calls, wait ``grace`` seconds for those that run, cancel the rest."""
        await self.drain()
        await self._server.stop(grace)

    async def wait(self) -> None:
        """Wait until the server has stopped."""
        await self._server.wait_for_termination()


@asynccontextmanager
async def grpc_server(
    analyses: Analyses,
    listen: str,
    *,
    searches: Searches | None = None,
    rollouts: Rollouts | None = None,
    operations: Operations | None = None,
    telemetry: Telemetry | None = None,
    grace: float = 5.0,
    serving: bool = True,
) -> AsyncIterator[GrpcServer]:
    """A server for the application's ports at ``listen`` (``HOST:PORT``, port 0 picks one, or ``unix:PATH``). ``serving``: what its
    health answers at first.

    It stops when the context ends, giving running calls ``grace`` seconds. Raises ``SetupError`` for a taken address.
    """
    services = [SERVICE, MODEL_SERVICE, OPERATIONS_SERVICE]
    server = grpc.aio.server(interceptors=(Boundary(telemetry),), options=_OPTIONS)
    add_AnalysisServiceServicer_to_server(AnalysisHandlers(analyses), server)
    if searches is not None:
        services.append(SEARCH_SERVICE)
        add_SearchServiceServicer_to_server(SearchHandlers(searches), server)
    add_ModelServiceServicer_to_server(ModelHandlers(rollouts), server)
    add_OperationsServiceServicer_to_server(OperationsHandlers(operations), server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    running = GrpcServer(server, health_servicer, services, _bind(server, listen))
    await running.set_serving(serving)
    await server.start()
    log.info("grpc.listening", address=running.address)
    try:
        yield running
    finally:
        await running.stop(grace)


def _bind(server: grpc.aio.Server, listen: str) -> str:
    """Bind and return the address for clients."""
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise SetupError("the server's address cannot be bound: is it taken, or not of this machine?") from error
    if listen.startswith("unix:"):
        return listen
    host = listen.rpartition(":")[0]
    if not loopback(host):
        log.warning("grpc.listening_beyond_this_machine", host=host, hint="no authentication, no encryption")
    return f"{host}:{port}"


def loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"

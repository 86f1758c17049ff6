"""The composition root: the only place that chooses implementations, and the order in which they start and stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames import shm
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.adapters.sources.sources import Sources
from orchestrator.adapters.stores.memory import MemoryResultStore
from orchestrator.adapters.triton.client import TritonInference
from orchestrator.adapters.triton.hosts import EmbeddedHost, RemoteHost
from orchestrator.adapters.triton.labels import Labels
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import InlineTransport, SharedMemoryTransport
from orchestrator.api.server import grpc_server
from orchestrator.core.media import DecodeLimits
from orchestrator.pipeline.service import AnalysisService, ServiceLimits
from orchestrator.ports import Inference
from orchestrator.settings import Settings

SCRATCH_BYTES = 64 << 20  # outputs and small inputs of the requests in flight
TRITON_BYTES = 64 << 20  # regions of Triton's own


@asynccontextmanager
async def running_app(settings: Settings) -> AsyncIterator[str]:
    """The whole service; yields the address of its gRPC server. Leaving the context drains it.

    Raises ``SetupError``, ``InferenceUnavailable`` or ``ProfileError`` when it cannot start.
    """
    profiles = load_profiles(settings.profile_dir)
    shm.require(settings.arena_bytes + SCRATCH_BYTES + TRITON_BYTES)
    async with AsyncExitStack() as stack:
        arena = stack.enter_context(closing(Arena(settings.arena_bytes)))
        # First of all, so that the workers warm up while Triton starts.
        decoder = ProcessDecoder(arena, threads=settings.decode_threads)
        stack.push_async_callback(decoder.close)
        await decoder.start()
        service = AnalysisService(
            decoder=decoder,
            inference=await stack.enter_async_context(running_inference(settings, arena)),
            store=MemoryResultStore(),
            sources=Sources(settings.roots, settings.spool_dir, settings.max_upload_bytes),
            profiles=profiles,
            names=Labels(settings.model_repository),
            limits=ServiceLimits(
                running=settings.max_running,
                waiting=settings.max_waiting,
                decode=DecodeLimits(settings.max_frame_pixels, settings.max_decode_seconds),
            ),
        )
        stack.push_async_callback(service.drain, 0.0)
        async with grpc_server(service, settings.listen) as server:
            try:
                yield server.address
            finally:
                await server.drain()
                await service.drain(settings.drain_seconds)


@asynccontextmanager
async def running_inference(settings: Settings, arena: Arena) -> AsyncIterator[Inference]:
    """Triton: one of our own, reached through shared memory, or one elsewhere, reached inline."""
    repository = settings.model_repository
    async with AsyncExitStack() as stack:
        if settings.triton:
            transport: InlineTransport | SharedMemoryTransport = InlineTransport()
            supervisor = Supervisor(RemoteHost(settings.triton), transport, repository)
        else:
            scratch = stack.enter_context(closing(Arena(SCRATCH_BYTES)))
            transport = SharedMemoryTransport(scratch)
            supervisor = Supervisor(EmbeddedHost(repository, [arena, scratch]), transport, repository)
        stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        yield TritonInference(supervisor, transport)

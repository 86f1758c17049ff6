"""The composition root: the only place that chooses implementations, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from functools import partial

from orchestrator import logs
from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.blobs.opening import open_blobs
from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames import shm
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu.opening import gpu_of_models, open_memory_on, running_gpu
from orchestrator.adapters.search.opening import search_index
from orchestrator.adapters.search.tokens import Tokens
from orchestrator.adapters.search.writing import index_segment
from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.adapters.sources.sources import Sources
from orchestrator.adapters.stores.keeping import SqlPast
from orchestrator.adapters.stores.rollouts import SqlRollouts
from orchestrator.adapters.stores.sql import open_store
from orchestrator.adapters.stores.statistics import SqlStatistics
from orchestrator.adapters.telemetry.prometheus import PrometheusTelemetry
from orchestrator.adapters.telemetry.tracing import tracing_to
from orchestrator.adapters.triton.client import TritonInference
from orchestrator.adapters.triton.hosts import EmbeddedHost, RemoteHost
from orchestrator.adapters.triton.labels import Labels
from orchestrator.adapters.triton.models import TritonModels
from orchestrator.adapters.triton.server import POOL_BYTES
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import InlineTransport, SharedMemoryTransport
from orchestrator.adapters.versions import versions_of
from orchestrator.api.http.server import http_server
from orchestrator.api.server import grpc_server
from orchestrator.at_run_time import Running, decode_limits, pace, service_limits
from orchestrator.pipeline import searching
from orchestrator.pipeline.abilities import Abilities
from orchestrator.pipeline.aside import aside
from orchestrator.pipeline.attempt import Parts
from orchestrator.pipeline.cleanup import Cleaner
from orchestrator.pipeline.control import Control
from orchestrator.pipeline.control_ports import AlwaysThere
from orchestrator.pipeline.convergence import Keeper
from orchestrator.pipeline.disk import DiskGuard
from orchestrator.pipeline.maintenance import Maintenance
from orchestrator.pipeline.model_ports import Versioned
from orchestrator.pipeline.observing import Observing
from orchestrator.pipeline.operations import OperationsService
from orchestrator.pipeline.rollouts import RolloutService
from orchestrator.pipeline.searching import Embedder, Indexer, SearchService
from orchestrator.pipeline.service import AnalysisService
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import Inference
from orchestrator.reloading import Reloads, unchanging
from orchestrator.settings import Settings
from orchestrator.watch import World, watched

SCRATCH_BYTES = 64 << 20  # outputs and small inputs of the requests in flight
TRITON_BYTES = 12 * POOL_BYTES  # of the instances of a default profile


InferenceOf = Callable[[Settings, Arena, Telemetry], AbstractAsyncContextManager[Inference]]


@asynccontextmanager
async def running_inference(
    settings: Settings, arena: Arena, telemetry: Telemetry | None = None, *, patient: bool = False
) -> AsyncIterator[Inference]:
    """Triton: one of our own or elsewhere on this host, reached through shared memory, or one on another, reached inline. A
    ``patient`` caller takes one elsewhere that is not there yet.
    """
    repository = settings.model_repository
    async with AsyncExitStack() as stack:
        transport: InlineTransport | SharedMemoryTransport
        host: RemoteHost | EmbeddedHost
        if settings.shares_memory:
            scratch = stack.enter_context(closing(Arena(SCRATCH_BYTES)))
            transport, arenas = SharedMemoryTransport(scratch), [arena, scratch]
            host = (
                RemoteHost(settings.triton, arenas, settings.triton_headers)
                if settings.triton
                else EmbeddedHost(repository, arenas, gpu=gpu_of_models(arena), collector=settings.trace_endpoint)
            )
        else:
            transport, host = InlineTransport(), RemoteHost(settings.triton)
        supervisor = Supervisor(host, transport, repository, telemetry=telemetry)
        stack.push_async_callback(supervisor.stop)
        await supervisor.start(patient=patient and bool(settings.triton))
        inference = TritonInference(supervisor, transport)
        budgets = settings.rollout.budgets()
        inference.models = TritonModels(host, supervisor, transport, inference, repository, budgets)
        yield inference


patient_inference = partial(running_inference, patient=True)
"""For a service, which is of use without its Triton too."""


@asynccontextmanager
async def running_app(
    settings: Settings,
    inference_of: InferenceOf = running_inference,
    *,
    ending: asyncio.Event | None = None,
    reloads: Reloads | None = None,
    controlled: Callable[[Control], None] = lambda control: None,
) -> AsyncIterator[str]:
    """The whole service; yields the address of its gRPC server. Leaving the context drains it.

    ``ending`` is set when an operator asks for that. ``reloads`` hold the settings in force, and are told who can change which.
    ``controlled`` is given, before the service is reached, what operators do with it.

    Raises ``SetupError``, ``InferenceUnavailable`` or ``ProfileError`` when it cannot start.
    """
    ending, reloads = ending or asyncio.Event(), reloads or unchanging(settings)
    profiles = load_profiles(settings.profile_dir)
    uploads = settings.spool_dir or settings.data_dir / "uploads"
    shm.require(settings.arena_bytes + SCRATCH_BYTES + TRITON_BYTES)
    telemetry = PrometheusTelemetry()
    async with AsyncExitStack() as stack:
        stack.enter_context(logs.heard(telemetry.logged))
        await stack.enter_async_context(tracing_to(settings.trace_endpoint, settings.trace_share))
        # The data directory first: two servers over one must not even begin.
        store = await stack.enter_async_context(
            open_store(settings.database or settings.data_dir, indexers=(index_segment,))
        )
        memory = open_memory_on(settings.gpu, settings.arena_bytes, shared=settings.shares_memory)
        if memory is not None:
            stack.callback(memory.free)
        arena = stack.enter_context(closing(Arena(memory.nbytes if memory else settings.arena_bytes, memory)))
        gpu = await stack.enter_async_context(running_gpu(arena, settings.gpu))
        # Before Triton, so that the workers warm up while it starts.
        decoder = ProcessDecoder(arena, threads=settings.decode_threads, gpu=gpu, telemetry=telemetry)
        stack.push_async_callback(decoder.close)
        await decoder.start()
        inference = await stack.enter_async_context(inference_of(settings, arena, telemetry))
        rollouts: RolloutService | None = None
        keeper: Keeper | None = None
        if isinstance(inference, Versioned) and inference.models is not None:
            rollouts = RolloutService(inference.models, SqlRollouts(store.database), telemetry=telemetry)
            keeper = Keeper(rollouts, settings.rollout.budgets(), pace(settings))
            await keeper.start()  # before any analysis begins
            await stack.enter_async_context(aside(keeper.run()))
        sources = Sources(settings.roots, uploads, settings.max_upload_bytes)
        parts = Parts(
            decoder=decoder,
            inference=inference,
            store=store,
            sources=sources,
            profiles=profiles,
            names=Labels(settings.model_repository),
            limits=decode_limits(settings),
            disk=DiskGuard((settings.data_dir, uploads), low=settings.disk_low_bytes, high=settings.disk_high_bytes),
            telemetry=telemetry,
        )
        service = AnalysisService(parts, service_limits(settings), settings.server_name)
        maintenance = Maintenance(settings.data_dir, service.pause)  # before anything is begun
        stack.push_async_callback(service.drain, 0.0)
        service.start()

        index = search_index(store.database)
        embedder = Embedder(inference, Tokens(settings.model_repository))
        searches = SearchService(index, embedder)
        blobs = open_blobs(settings.blobs or settings.data_dir / "blobs", settings.blobs_endpoint)
        cleaner = Cleaner(
            store, SqlPast(store.database), blobs, LocalBlobs(uploads), settings.retention.policies(), telemetry
        )
        await stack.enter_async_context(aside(cleaner.run(settings.cleanup_seconds)))
        if settings.embed_text:
            await stack.enter_async_context(aside(Indexer(index, embedder).run()))

        world = World(
            store.database, blobs, uploads, decoder, inference, service, parts.disk, arena, gpu, telemetry.recent.p95
        )
        observing: Observing | None = None
        if settings.look_seconds:
            observing = await stack.enter_async_context(
                watched(settings, world, reloads, looked=telemetry.looked, notified=telemetry.notified)
            )

        Running(service, parts, sources, cleaner, keeper).register(reloads)
        models = rollouts.server if rollouts else None
        abilities = Abilities(
            parts.names,
            models or AlwaysThere(),
            {
                "estimates": lambda: "",
                "gpu decoding": lambda: "" if gpu else "the setting gpu is off, or there is none to be used",
                "paths": lambda: "" if sources.roots else "no folder is named below which files may lie (roots)",
                "search": lambda: "",
                "uploads": lambda: "the disk is full" if parts.disk.full else "",
            },
            await versions_of(store.database),
            embedding=searching.MODEL if settings.embed_text else "",
        )
        statistics = SqlStatistics(store.database)
        control = Control(
            settings.server_name,
            service,
            statistics,
            maintenance,
            abilities,
            reloads.reload,
            cleaner.clean,
            ending,
        )
        controlled(control)
        operations = OperationsService(control, observing) if observing else None
        await stack.enter_async_context(aside(abilities.learn()))

        async def ready() -> Mapping[str, bool]:
            await store.queued(limit=1)
            return {"store": True, "disk": not parts.disk.full, "accepting": service.accepting}

        if settings.http_listen:
            await stack.enter_async_context(
                http_server(
                    service,
                    searches,
                    rollouts,
                    settings.http_listen,
                    ready=ready,
                    operations=operations,
                    telemetry=telemetry,
                )
            )
        serving = maintenance.notice is None
        async with grpc_server(
            service,
            settings.listen,
            searches=searches,
            rollouts=rollouts,
            operations=operations,
            telemetry=telemetry,
            serving=serving,
        ) as server:
            maintenance.announce = server.set_serving
            try:
                yield server.address
            finally:
                await server.drain()
                await service.drain(reloads.settings.drain_seconds)

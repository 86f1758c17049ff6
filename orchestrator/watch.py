"""The part of the composition root that watches: which probes look at what, and who hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu.process import GpuProcess
from orchestrator.adapters.notify import AppriseNotifier
from orchestrator.adapters.probes.artifacts import Artifacts
from orchestrator.adapters.probes.backups import Backups
from orchestrator.adapters.probes.certificates import Certificates
from orchestrator.adapters.probes.clock import Clock
from orchestrator.adapters.probes.database import Database
from orchestrator.adapters.probes.decoders import Decoders
from orchestrator.adapters.probes.disk import Disks
from orchestrator.adapters.probes.gpu import Gpu, NoGpu
from orchestrator.adapters.probes.latency import Latency
from orchestrator.adapters.probes.pace import Seldom
from orchestrator.adapters.probes.resources import Resources
from orchestrator.adapters.probes.sessions import Sessions
from orchestrator.adapters.probes.triton import Triton
from orchestrator.adapters.probes.work import Failures, Queue, QueueLimits
from orchestrator.adapters.stores import database
from orchestrator.adapters.stores.operations import SqlOperations
from orchestrator.errors import InvalidRequest, SetupError
from orchestrator.pipeline.alerting import Alerting
from orchestrator.pipeline.aside import aside
from orchestrator.pipeline.disk import DiskGuard
from orchestrator.pipeline.history import History
from orchestrator.pipeline.observing import Observing
from orchestrator.pipeline.operation_ports import Notifier, Observable, OperationsStore, Probe
from orchestrator.pipeline.service import AnalysisService
from orchestrator.pipeline.watching import LookListener, Watching
from orchestrator.ports import BlobStore, Inference
from orchestrator.reloading import Apply, Reloads
from orchestrator.settings import Settings

REMOTE_SECONDS = 60.0  # between two looks at an artifact store that takes money for each
FILES_SECONDS = 60.0  # between two readings of files that change once a day


@dataclass(frozen=True, slots=True)
class World:
    """What there is to look at. ``uploads``: the folder of the spool files; ``gpu``: the process that decodes on the arena's GPU.
    ``latency``: what 95 % of the unary calls of the last minutes did not exceed, in seconds, and how many there were."""

    database: database.Database
    blobs: BlobStore
    uploads: Path
    decoder: ProcessDecoder
    inference: Inference
    service: AnalysisService
    disk: DiskGuard
    arena: Arena
    gpu: GpuProcess | None
    latency: Callable[[], tuple[float, int]] | None = None


@asynccontextmanager
async def watched(
    settings: Settings,
    world: World,
    reloads: Reloads,
    *,
    looked: LookListener | None = None,
    notified: Callable[[str], None] = lambda outcome: None,
) -> AsyncIterator[Observing]:
    """Look at the world, raise alerts and keep the history, until the context ends; limits, and who is told, change with ``reloads``.
    ``looked`` hears of every look, ``notified`` of every delivery. Raises ``SetupError``, ``StoreUnavailable``."""
    store = SqlOperations(world.database)
    alerting = Alerting(settings.server_name, store, _notifier(settings), on_delivery=notified)
    await alerting.start()
    watching = Watching(
        settings.server_name, list(probes(settings, world, store)), alerting, every=settings.look_seconds
    )
    history = History(settings.server_name, store, every=settings.history_seconds, days=settings.history_days)
    for listener in filter(None, (history.looked, looked)):
        watching.subscribe(listener)

    def tell(new: Settings) -> Apply:
        try:
            notifier = _notifier(new)
        except SetupError as error:
            raise InvalidRequest(str(error)) from error
        return lambda: alerting.tell_to(notifier)

    def look(new: Settings) -> Apply:
        eyes = list(probes(new, world, store))
        return lambda: watching.look_with(eyes)

    reloads.on(("notify",), tell)
    reloads.on(("limits", "certificates", "backups"), look)
    await watching.look()  # whoever asks is answered from the start
    async with AsyncExitStack() as stack:
        for work in (alerting.run(), history.run(), watching.run()):
            await stack.enter_async_context(aside(work))
        yield Observing(watching, alerting, history)


def probes(settings: Settings, world: World, store: OperationsStore) -> Iterator[Probe]:
    """Eyes for everything that there is."""
    limits = settings.limits
    if isinstance(world.inference, Observable):
        yield Triton(world.inference, limits.models.limits())
    yield Decoders(world.decoder, limits.decoders.limits())
    yield _gpu(settings, world)
    yield Database(store, limits.database.limits())
    artifacts = Artifacts(world.blobs, limits.artifacts.limits(), settings.server_name)
    yield artifacts if isinstance(world.blobs, LocalBlobs) else Seldom(artifacts, REMOTE_SECONDS)
    yield Queue(store, world.service, QueueLimits(limits.queue.limits(), limits.queue_age.limits()))
    yield Sessions(world.service.runner.idle, lambda: world.service.limits.stuck)
    if world.latency is not None:
        yield Latency(world.latency, limits.latency.limits())
    yield Failures(store, limits.failures.limits(), limits.failures_least, limits.frames.limits())
    places = {"data": settings.data_dir, "uploads": world.uploads}
    if settings.blobs and isinstance(world.blobs, LocalBlobs):
        places["blobs"] = Path(settings.blobs)
    if settings.backups is not None:
        places["backups"] = settings.backups
        yield Seldom(Backups(settings.backups, limits.backup.limits()), FILES_SECONDS)
    yield Disks(places, limits.disk.limits(), full=lambda: world.disk.full)
    yield Resources(limits.memory.limits(), limits.cpu.limits())
    if settings.certificates:
        yield Seldom(Certificates(settings.certificates, limits.certificates.limits()), FILES_SECONDS)
    yield Clock(limits.clock.limits(), must_be_kept=limits.clock_kept)


def _notifier(settings: Settings) -> Notifier | None:
    return AppriseNotifier(settings.notify) if settings.notify else None


def _gpu(settings: Settings, world: World) -> Probe:
    """The GPU that is used, or that a setting promises."""
    number = world.arena.gpu.ordinal if world.arena.gpu is not None else None
    if number is None and settings.gpu.isdigit():
        number = int(settings.gpu)
    if number is None:
        return NoGpu()
    process = world.gpu
    return Gpu(
        number, settings.limits.gpu_memory.limits(), left_alone=lambda: process is not None and process.left_alone
    )

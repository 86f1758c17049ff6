"""Keeps Triton and its models answering: the loss of a stub, or of the whole server, ends in a reload, not in an error.

    UNLOADED -> LOADING -> READY <-> HEALING        a model that cannot be loaded is FAILED until it is wanted again
        ^-- drop, from any phase

A model heals when a stub of it dies (noticed at once), when a client reports a failure, or when a probe (a
real inference, made while no request proves the same) fails. When the server ends, every model goes back to
LOADING and a new server is started. A further version is a model like any other (see ``repository.py``); only for one on trial,
which is ``expendable``, no server is ever ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

from orchestrator.adapters.triton import metrics
from orchestrator.adapters.triton.connection import Connection, words
from orchestrator.adapters.triton.hosts import Host
from orchestrator.adapters.triton.identity import identify
from orchestrator.adapters.triton.model import Model, Phase
from orchestrator.adapters.triton.probing import Trial, probe
from orchestrator.adapters.triton.repository import split
from orchestrator.adapters.triton.transport import Call, Transport
from orchestrator.errors import FilesRefused, InferenceUnavailable, ReelsiftError
from orchestrator.pipeline.operation_ports import Standing
from orchestrator.pipeline.telemetry import Telemetry

_DROP_POLL_S = 0.5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds, and how often they are tried."""

    start_s: float = 30.0
    load_s: float = 120.0
    heal_s: float = 60.0
    probe_s: float = 30.0
    probe_period_s: float = 2.0
    probe_share: float = 0.001  # of one core, at most, for one idle model; a dead stub is noticed without probes
    loads_at_once: int = 2
    restarts: int = 5  # in a row, without an answer between them


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for metrics and tests: ``kind`` as in the log, ``model`` or empty for the server."""

    kind: str
    model: str = ""


class Supervisor:
    """Runs ``host``; ``transport`` carries its probes."""

    def __init__(
        self,
        host: Host,
        transport: Transport,
        repository: Path,
        patience: Patience | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._host, self._transport, self._repository = host, transport, repository
        self.telemetry = telemetry or Telemetry()
        self.telemetry.watch_models(lambda: self.serving, self._loaded, self.page)
        self._patience = patience or Patience()
        self.expendable: frozenset[str] = frozenset()
        self._models: dict[str, Model] = {}
        self._connection: Connection | None = None
        self._listeners: list[Callable[[Event], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loads = asyncio.Semaphore(self._patience.loads_at_once)
        self._started: asyncio.Future[None] | None = None
        self._stopping = False
        self._fruitless = 0
        self.release = ""  # of the server that answered last
        self._starts = 0

    # --- what the application asks -----------------------------------------------------------------------------------

    async def start(self, *, patient: bool = False) -> None:
        """Start Triton and return when it answers; at once when ``patient``: it may come later. Raises ``SetupError`` or
        ``InferenceUnavailable``.
        """
        if not patient:
            self._started = asyncio.get_running_loop().create_future()
        self._spawn(self._serve())
        if self._started is not None:
            await asyncio.shield(self._started)
        self._spawn(self._probe())

    async def stop(self) -> None:
        """End Triton and everything of it."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()
        await self._host.stop()
        if self._connection is not None:
            self._connection.over.set()
        for model in self._models.values():
            model.settle(Phase.FAILED)

    def want(self, models: Sequence[str]) -> None:
        """Load ``models``, the first named first: now, or as soon as a server answers."""
        for name in models:
            model = self._models.setdefault(name, Model(name))
            if model.phase in (Phase.UNLOADED, Phase.FAILED) and not self._stopping:
                model.unsettle(Phase.LOADING)
                if self._connection is not None and self.serving:
                    self._spawn(self._load(model, self._connection))

    async def ready(self, models: Sequence[str]) -> None:
        """Load ``models`` and wait until they answer. Raises ``InferenceUnavailable``."""
        self.want(models)
        for name in models:
            await self.healed(name)

    async def healed(self, name: str) -> tuple[Model, Connection]:
        """Wait until ``name`` answers (again). Raises ``InferenceUnavailable`` when it does not within the time
        for healing.
        """
        model = self._models.get(name)
        if model is None:
            raise InferenceUnavailable(f"the model {name} was never asked to be ready", model=name)
        limit = self._patience.load_s if model.phase is Phase.LOADING else self._patience.heal_s
        try:
            async with asyncio.timeout(limit):
                while model.phase is not Phase.READY:  # it may break again before this waiter is woken
                    await model.settled.wait()
                    if model.phase in (Phase.FAILED, Phase.UNLOADED):
                        break
        except TimeoutError:
            model.tally.failed()
            raise InferenceUnavailable(f"the model {name} did not come back within {limit:g} s", model=name) from None
        if model.phase is not Phase.READY or self._connection is None:
            model.tally.failed()
            why = f": {model.fault}" if model.fault else "; Triton's log says why"
            raise InferenceUnavailable(f"the model {name} cannot be loaded{why}", model=name) from model.fault
        return model, self._connection

    async def drop(self, name: str, *, hung: bool = False) -> None:
        """Unload ``name``, and want it no more: once it has answered what it has taken, or at once when it is ``hung`` or does not
        answer, loading too."""
        model = self._models.get(name)
        if model is None:
            return
        hung = hung or model.phase is not Phase.READY
        model.settle(Phase.UNLOADED)
        while not await model.locked(_DROP_POLL_S):
            if hung:
                self._host.kill(name)  # then its load or reload fails
        try:
            if model.phase is Phase.UNLOADED and self._models.get(name) is model:  # else it is wanted again, or gone
                del self._models[name]
                if self._connection is not None and self.serving:
                    await self._host.unload(self._connection, name, hung=hung)
                self._emit("triton.unloaded", name)
        except grpc.RpcError as error:
            log.warning("triton.unload_failed", model=name, error=words(error))
        finally:
            model.lock.release()

    @property
    def serving(self) -> bool:
        """Whether a server answers."""
        return self._connection is not None and not self._connection.over.is_set()

    def find(self, name: str) -> Model | None:
        """A wanted model."""
        return self._models.get(name)

    def state(self) -> dict[str, Phase]:
        """The phase of every wanted model."""
        return {name: model.phase for name, model in self._models.items()}

    def model(self, name: str) -> Model:
        """A model that was ready once. Raises ``InferenceUnavailable``."""
        model = self._models.get(name)
        if model is None or model.contract is None:
            raise InferenceUnavailable(f"the model {name} is not loaded", model=name)
        return model

    def _loaded(self) -> list[tuple[str, str, bool]]:
        """Each model that has been loaded, its version, and whether it answers."""
        return [
            (split(name)[0], model.version.version, model.phase is Phase.READY and self.serving)
            for name, model in list(self._models.items())  # asked from other threads, too
            if model.version is not None
        ]

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with every later event."""
        self._listeners.append(listener)

    async def page(self) -> str:
        """Triton's own page of metrics; empty where its address is not known. Raises ``InferenceUnavailable`` while it is away."""
        if self._connection is None:
            raise InferenceUnavailable("Triton does not answer")
        return await self._connection.metrics()

    async def live(self, seconds: float) -> bool:
        """Whether the server answers within so many seconds: one that was stopped, or hangs, has not ended and does not."""
        if self._connection is None or not self.serving:
            return False
        try:
            await self._connection.live(seconds)
        except grpc.RpcError:
            return False
        return True

    def standings(self) -> dict[str, Standing]:
        """How every wanted model is."""
        return {name: model.standing for name, model in self._models.items() if model.phase is not Phase.UNLOADED}

    async def metrics(self) -> dict[str, metrics.ModelMetrics]:
        """Triton's own counters by model, since the start of the server that runs now."""
        return metrics.parse(await self._connection.metrics()) if self._connection else {}

    # --- what the client tells ---------------------------------------------------------------------------------------

    def answered(self, model: Model, call: Call) -> None:
        """``model`` answered ``call``: no probe is needed for a while, and the next one may look like it."""
        model.last_call = Call(call.contract, {}, call.input_shapes, call.output_shapes)
        model.probe_due = time.monotonic() + self._patience.probe_period_s
        self._fruitless = 0

    def failed(self, model: Model, epoch: int, *, broken: bool, hung: bool = False) -> None:
        """A request that began in ``epoch`` failed: ``broken`` when Triton said that a stub is dead, ``hung`` when
        no answer came.
        """
        if model.epoch == epoch and model.phase is Phase.READY and self._connection is not None:
            model.unsettle(Phase.HEALING)
            self._spawn(self._heal(model, self._connection, certain=broken or hung, hung=hung))

    # --- the server --------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while not self._stopping:
            try:
                endpoint = await self._host.start(self._stub_died)
                await self._run(Connection(endpoint))
            except (ReelsiftError, OSError) as error:
                self._not_started(error)
            self._fruitless += 1
            if self._fruitless > self._patience.restarts:
                self._emit("triton.given_up")
                for model in self._models.values():
                    model.settle(Phase.FAILED)
                self._fruitless = 0
                await asyncio.sleep(self._patience.heal_s)
            await asyncio.sleep(min(5.0, 0.05 * 2**self._fruitless))

    async def _run(self, connection: Connection) -> None:
        """From the first answer of a server to its end."""
        watch = asyncio.create_task(self._host.ended())
        up = asyncio.create_task(self._bring_up(connection))
        try:
            await asyncio.wait((watch, up), return_when=asyncio.FIRST_COMPLETED)
            if up.done() and not up.cancelled() and (fault := up.exception()):
                log.error("triton.no_answer", error=str(fault))
                await self._host.stop()
            await watch
        finally:
            for task in (watch, up):
                task.cancel()
            if not self._stopping:
                connection.over.set()  # before a waiter can ask for a model of it
                for model in self._models.values():
                    if model.phase not in (Phase.FAILED, Phase.UNLOADED):
                        model.unsettle(Phase.LOADING)
                self._emit("triton.server_ended")
                with suppress(asyncio.CancelledError):
                    await connection.close()
        if not up.done() or up.cancelled() or up.exception():
            raise InferenceUnavailable("Triton ended before it answered")

    async def _bring_up(self, connection: Connection) -> None:
        await connection.live(self._patience.start_s)
        with suppress(grpc.RpcError):  # good to know, no more
            self.release = await connection.release()
        await self._host.prepare(connection)
        self._connection = connection
        self._starts += 1
        self.telemetry.triton_started(self.release, again=self._starts > 1)
        self._emit("triton.server_ready")
        if self._started is not None and not self._started.done():
            self._started.set_result(None)
        for model in self._models.values():
            if model.phase is Phase.LOADING:
                self._spawn(self._load(model, connection))

    def _not_started(self, error: ReelsiftError | OSError) -> None:
        log.error("triton.not_started", error=str(error))
        lasting = isinstance(error, ReelsiftError) and not error.retryable
        if self._started is not None and not self._started.done() and (lasting or self._fruitless):
            self._stopping = True
            typed = (
                error
                if isinstance(error, ReelsiftError)
                else InferenceUnavailable("the embedded Triton could not be started")
            )
            self._started.set_exception(typed)

    # --- models ------------------------------------------------------------------------------------------------------

    async def _load(self, model: Model, connection: Connection) -> None:
        async with self._loads, model.lock:
            if model.phase is not Phase.LOADING or connection.over.is_set():
                return
            model.fault = None
            try:
                await self._host.load(connection, model.name, self._patience.load_s)
                await self._learn(model, connection)
                self._is_ready(model, connection)
            except (grpc.RpcError, TimeoutError, ReelsiftError) as error:
                if model.phase is Phase.LOADING and not await self.is_over(connection, error):
                    log.error("triton.load_failed", model=model.name, error=words(error))
                    model.fault = error if isinstance(error, ReelsiftError) else None
                    model.settle(Phase.FAILED)
                    self._emit("triton.load_failed", model.name)

    async def _heal(self, model: Model, connection: Connection, *, certain: bool, hung: bool = False) -> None:
        async with model.lock:
            if model.phase is not Phase.HEALING or connection.over.is_set():
                return
            self._emit("triton.healing", model.name)
            try:
                if not certain:
                    if await self.is_over(connection):
                        return  # a fresh server loads it
                    if await self._trial(model, connection) is Trial.ANSWERED:
                        if model.phase is Phase.HEALING:
                            model.settle(Phase.READY)
                        return
                async with asyncio.timeout(self._patience.load_s):
                    await self._mend(model, connection, hung=hung)
                self._emit("triton.healed", model.name)
            except (grpc.RpcError, TimeoutError, ReelsiftError) as error:
                if model.phase is Phase.HEALING and not await self.is_over(connection, error):
                    log.error("triton.heal_failed", model=model.name, error=words(error))
                    self._emit("triton.heal_failed", model.name)
                    if model.name in self.expendable or isinstance(error, FilesRefused):  # no server can help
                        model.fault = error if isinstance(error, ReelsiftError) else None
                        model.settle(Phase.FAILED)
                        return
                    await self._host.stop()  # the last resort: a fresh server loads everything anew

    async def _mend(self, model: Model, connection: Connection, *, hung: bool) -> None:
        """Reload until a real inference has an answer: a server calls a model ready whose stub is dead."""
        trial = Trial.LOST
        while trial is Trial.LOST and model.phase is Phase.HEALING:
            await self._host.reload(connection, model.name, self._patience.load_s, hung=hung)
            await self._learn(model, connection)
            trial = await self._trial(model, connection)
        self._is_ready(model, connection)

    async def _learn(self, model: Model, connection: Connection) -> None:
        contract = await connection.contract(model.name)
        # Each load anew: an export may have put another file under the same version.
        model.version = await asyncio.to_thread(identify, self._repository, model.name, contract.version)
        model.contract = contract
        model.epoch += 1
        model.tally.loaded()

    def _is_ready(self, model: Model, connection: Connection) -> None:
        model.probe_due = time.monotonic() + self._patience.probe_period_s
        if connection.over.is_set() or model.phase is Phase.UNLOADED:
            return
        model.settle(Phase.READY)
        self._emit("triton.model_ready", model.name)

    def _stub_died(self, name: str) -> None:
        model = self._models.get(name)
        if model is not None:
            model.deaths += 1
        self.telemetry.model_died(split(name)[0])
        self._emit("triton.stub_died", name)
        if (
            model is None
            or self._connection is None
            or self._stopping
            or model.phase not in (Phase.READY, Phase.HEALING)
        ):
            return  # while a model loads, the load itself fails
        if not model.running:
            model.tally.failed()  # else its requests are
        model.unsettle(Phase.HEALING)
        self._spawn(self._heal(model, self._connection, certain=True))

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(self._patience.probe_period_s / 4)
            for model in list(self._models.values()):
                connection, now = self._connection, time.monotonic()
                if model.phase is not Phase.READY or model.running or now < model.probe_due or connection is None:
                    continue
                epoch = model.epoch
                trial = await self._trial(model, connection)
                took = time.monotonic() - now
                model.probe_due = time.monotonic() + max(
                    self._patience.probe_period_s, took / self._patience.probe_share
                )
                if trial is not Trial.ANSWERED:
                    self.failed(model, epoch, broken=True, hung=took >= self._patience.probe_s)

    async def _trial(self, model: Model, connection: Connection) -> Trial:
        trial = await probe(model, connection, self._transport, self._patience.probe_s)
        if trial is Trial.ANSWERED:
            self._fruitless = 0
        return trial

    # --- small things ------------------------------------------------------------------------------------------------

    async def is_over(self, connection: Connection, error: Exception | None = None) -> bool:
        """Whether the server has ended, given a moment to be noticed when ``error`` looks like it."""
        if error is None or (isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE):
            with suppress(TimeoutError):
                await asyncio.wait_for(connection.over.wait(), 1.0 if error else 0.2)
        return connection.over.is_set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: it outlives whoever asked for it, whose analysis and trace its lines and spans are not.
        task = asyncio.create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()):
            log.error("triton.supervisor_fault", exc_info=fault)

    def _emit(self, kind: str, model: str = "") -> None:
        log.info(kind, **({"model": model} if model else {}))
        for listener in self._listeners:
            listener(Event(kind, model))

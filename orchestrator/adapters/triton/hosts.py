"""Where Triton runs: in a process of ours on this machine, or somewhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import grpc
import structlog

from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.frames.shm import SHM
from orchestrator.adapters.triton import distribution, integrity, placement
from orchestrator.adapters.triton.connection import Connection
from orchestrator.adapters.triton.repository import Repository
from orchestrator.adapters.triton.server import Endpoint, TritonServer
from orchestrator.adapters.triton.stubs import Stub, StubWatch, bury

_POLL_S = 0.25
_FINISH_S = 10.0  # what a healthy sibling of a dead stub may need for the requests it has
_LEAKS_BEFORE_RESTART = 16

log = structlog.get_logger(__name__)


class Host(Protocol):
    """One Triton, which may end and be started again."""

    async def start(self, on_stub_death: Callable[[str], None]) -> Endpoint:
        """Start it; ``on_stub_death`` is told the model whose stub died."""
        ...

    async def prepare(self, connection: Connection) -> None:
        """What a fresh server needs before it can take requests."""
        ...

    async def load(self, connection: Connection, model: str, timeout_s: float) -> None:
        """Make ``model`` answer. Raises ``grpc.RpcError`` or ``TimeoutError``."""
        ...

    async def reload(self, connection: Connection, model: str, timeout_s: float, *, hung: bool) -> None:
        """Make a broken ``model`` answer again; when ``hung``, what it runs now is lost."""
        ...

    async def unload(self, connection: Connection, model: str, *, hung: bool) -> None:
        """Let ``model`` go, once it has answered what it has taken, or at once when ``hung``. Raises ``grpc.RpcError``."""
        ...

    def kill(self, model: str) -> None:
        """End what hangs of ``model``, while it loads too."""
        ...

    async def ended(self) -> None:
        """Wait for its end."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...


class EmbeddedHost:
    """A ``tritonserver`` of our own. ``arenas`` are registered with every server that is started. ``gpu``: number of the GPU on which
    the models run, else where their configs say. ``collector``: where the server traces to.
    """

    def __init__(
        self,
        repository: Path,
        arenas: Sequence[Arena],
        cache: Path | None = None,
        gpu: int | None = None,
        collector: str = "",
    ) -> None:
        self._collector = collector
        self.repository = Repository(repository, on_gpu=gpu is not None)
        self._arenas, self._cache, self._gpu = arenas, cache, gpu
        self._distribution: distribution.Distribution | None = None
        self._server: TritonServer | None = None
        self._stubs: StubWatch | None = None
        self._burials: set[asyncio.Task[None]] = set()
        self._leaks = 0

    @property
    def server(self) -> TritonServer:
        """The server that runs now."""
        assert self._server is not None, "the host is started first"
        return self._server

    def stubs(self, model: str) -> list[Stub]:
        """The living stubs of ``model``."""
        return self._stubs.of(model) if self._stubs else []

    async def start(self, on_stub_death: Callable[[str], None]) -> Endpoint:
        """See ``Host``. Raises ``SetupError`` or ``InferenceUnavailable``."""
        if self._distribution is None:
            self._distribution = await asyncio.to_thread(distribution.install, self._cache)
        self._server = await TritonServer.start(self._distribution, self.repository.root, self._collector)
        self._leaks = 0

        server = self._server

        def died(stub: Stub) -> None:
            if not server.alive:
                return  # it goes down with its server, and so does its memory
            log.warning("triton.stub_died", model=stub.model, pid=stub.pid)
            self._bury([stub], 0.0)
            self._leaks += 1
            on_stub_death(stub.model)

        self._stubs = StubWatch(self._server.pid, died)
        return self._server.endpoint

    async def prepare(self, connection: Connection) -> None:
        """See ``Host``."""
        for arena in self._arenas:
            await connection.register(arena)

    async def load(self, connection: Connection, model: str, timeout_s: float) -> None:
        """See ``Host``. Also raises ``FilesRefused``, ``NotFound`` or ``SetupError`` for files that are not to be served."""
        config = await asyncio.to_thread(self._prepared, model)
        await connection.load(model, timeout_s, config)
        if self._stubs:
            self._stubs.discover()

    def _prepared(self, name: str) -> str:
        """The config of Triton's model ``name``, whose files have been checked and lie where Triton finds them."""
        model, version = self.repository.versioned(name)
        integrity.check(self.repository, model, version)
        if name != model:
            placement.lay_out(self.repository, model, version, self.server.further / name)
        return placement.config(self.repository, model, version, name, self._gpu)

    async def unload(self, connection: Connection, model: str, *, hung: bool) -> None:
        """See ``Host``. Its stubs are killed when they have not left after a while."""
        if self._stubs is None:
            return
        self._stubs.discover()
        old = self.stubs(model)
        for stub in old:
            self._stubs.forget(stub)
        try:
            await connection.unload(model)
        finally:
            self._bury(old, 0.0 if hung else _FINISH_S)

    def kill(self, model: str) -> None:
        """See ``Host``."""
        if self._stubs is None:
            return
        self._stubs.discover()
        hanging = self.stubs(model)
        for stub in hanging:
            self._stubs.forget(stub)
        self._bury(hanging, 0.0)

    async def reload(self, connection: Connection, model: str, timeout_s: float, *, hung: bool) -> None:
        """Unload and load: a load alone does nothing, and Triton restarts no stub."""
        if self._leaks > _LEAKS_BEFORE_RESTART:
            log.info("triton.planned_restart", dead_stubs=self._leaks)
            await self.stop()
            return
        old = self.stubs(model)
        for stub in old:
            if self._stubs:
                self._stubs.forget(stub)
        try:
            await connection.unload(model)
            await self.load(connection, model, timeout_s)
        finally:
            self._bury(old, 0.0 if hung else _FINISH_S)

    async def ended(self) -> None:
        """See ``Host``."""
        status = await self.server.ended()
        log.info("triton.ended", status=status)
        if self._stubs:
            self._stubs.close()
            self._stubs = None

    async def stop(self) -> None:
        """See ``Host``."""
        if self._server is not None:
            if self._stubs:
                self._stubs.close()
            await self._server.stop()
        await asyncio.gather(*self._burials)

    def _bury(self, stubs: list[Stub], grace_s: float) -> None:
        task = asyncio.create_task(bury(stubs, grace_s))
        self._burials.add(task)
        task.add_done_callback(self._burials.discard)


class RemoteHost:
    """A Triton that someone else runs at ``address`` (``host:port``), and whose models they load. ``arenas`` are registered with it, where
    it runs on this host and may map our memory; ``header`` opens its restricted APIs.

    To stop it is to turn away from it, and to start it again to look for it anew: only its operator can mend it.
    """

    def __init__(self, address: str, arenas: Sequence[Arena] = (), header: Sequence[tuple[str, str]] = ()) -> None:
        self._endpoint, self._arenas = Endpoint(address, tuple(header)), arenas
        self._left = asyncio.Event()
        self._registered = False

    async def start(self, on_stub_death: Callable[[str], None]) -> Endpoint:
        """See ``Host``."""
        self._left.clear()
        return self._endpoint

    async def prepare(self, connection: Connection) -> None:
        """See ``Host``. What services that are gone have left registered there is let go."""
        if not self._arenas:
            return
        for name in await connection.regions():
            if name.startswith("reelsift-") and not (SHM / name).exists():
                await connection.unregister(name, on_gpu=True)
        for arena in self._arenas:
            await connection.unregister(arena.name, on_gpu=arena.gpu is not None)  # of an earlier connection
            await connection.register(arena)
        self._registered = True

    async def load(self, connection: Connection, model: str, timeout_s: float) -> None:
        """Wait until the remote Triton says that ``model`` is ready."""
        async with asyncio.timeout(timeout_s):
            while not await _is_ready(connection, model):
                await asyncio.sleep(_POLL_S)

    async def reload(self, connection: Connection, model: str, timeout_s: float, *, hung: bool) -> None:
        """See ``load``."""
        await asyncio.sleep(_POLL_S)
        await self.load(connection, model, timeout_s)

    async def unload(self, connection: Connection, model: str, *, hung: bool) -> None:
        """Its operator unloads its models."""

    def kill(self, model: str) -> None:
        """Its processes are not ours."""

    async def ended(self) -> None:
        """Its end is not to be seen from here, only that we turned away from it."""
        await self._left.wait()

    async def stop(self) -> None:
        """See ``Host``. It lets go of our memory, if it is there to be told."""
        if self._registered:
            self._registered = False
            connection = Connection(self._endpoint)
            with suppress(grpc.RpcError):
                for arena in self._arenas:
                    await connection.unregister(arena.name, on_gpu=arena.gpu is not None)
            await connection.close()
        self._left.set()


async def _is_ready(connection: Connection, model: str) -> bool:
    try:
        return await connection.model_ready(model)
    except grpc.RpcError as error:
        log.warning("triton.remote_unavailable", model=model, code=error.code().name)
        return False

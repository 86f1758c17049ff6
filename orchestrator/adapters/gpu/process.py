"""The GPU process as the service sees it: started when it is first needed, and again after it died."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Sequence
from itertools import count

import structlog

from orchestrator.adapters.decoders import wire
from orchestrator.adapters.decoders.forking import environment
from orchestrator.adapters.decoders.job import encode_tap
from orchestrator.adapters.decoders.wire import MAX_MESSAGE, Message, encode
from orchestrator.adapters.frames.arena import Arena
from orchestrator.core.frames import Tap

START_SECONDS = 120.0
END_SECONDS = 10.0
_COMMAND = (sys.executable, "-m", "orchestrator.adapters.gpu.server")
_DEATHS = 3  # after so many in a row without a session that ended well the GPU is left alone ...
_PAUSE_SECONDS = 60.0  # ... for so long

log = structlog.get_logger(__name__)


class GpuUnavailable(Exception):
    """No session can be had: there is no GPU process, or it does not come up."""


class GpuSession:
    """What one decode worker may do on the GPU. ``descriptors`` are the worker's ends of its connections."""

    def __init__(self, life: _Life, number: int, ends: Sequence[socket.socket]) -> None:
        self._life, self._number, self._ends = life, number, ends

    @property
    def descriptors(self) -> list[int]:
        """The control connection, then one for each decoding thread."""
        return [end.fileno() for end in self._ends]

    def handed_over(self) -> None:
        """The worker has its ends."""
        for end in self._ends:
            end.close()

    async def end(self) -> None:
        """Returns when nothing is written into its slots any more. Safe to call again."""
        self.handed_over()
        await self._life.end_session(self._number)


class GpuProcess:
    """Decodes and scales on GPU ``arena.gpu``. ``close()`` in the end, behind all sessions."""

    def __init__(self, arena: Arena, command: Sequence[str] = _COMMAND) -> None:
        assert arena.gpu is not None, "the arena has memory on the GPU"
        self._arena, self._command = arena, command
        self._life: _Life | None = None
        self._lock = asyncio.Lock()
        self._numbers = count(1)
        self._deaths, self._left_until = 0, 0.0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Process id of the process that runs now, for operators and tests."""
        return self._life.pid if self._life is not None and not self._life.ended else None

    @property
    def left_alone(self) -> bool:
        """Whether it is given up for a while, because it dies again and again."""
        return asyncio.get_running_loop().time() < self._left_until

    async def start(self) -> None:
        """Warm up. Raises ``GpuUnavailable``."""
        async with self._lock:
            await self._current()

    async def session(
        self, taps: Sequence[Tap], extents: Sequence[Sequence[int]], max_pixels: int, streams: int
    ) -> GpuSession:
        """A session with ``streams`` decoding connections, whose slots are at ``extents``. Raises ``GpuUnavailable``."""
        async with self._lock:
            life = await self._current()
        number = next(self._numbers)
        allowed = encode(
            "session",
            session=number,
            taps=[encode_tap(tap) for tap in taps],
            extents=extents,
            max_pixels=max_pixels,
        )
        pairs = [socket.socketpair() for _ in range(1 + streams)]
        life.begin_session(number, allowed, [theirs for theirs, _ in pairs])
        return GpuSession(life, number, [ours for _, ours in pairs])

    async def close(self) -> None:
        """End the process."""
        self._closed = True
        if self._life is not None:
            await self._life.stop()

    async def _current(self) -> _Life:
        now = asyncio.get_running_loop().time()
        if self._closed or now < self._left_until:
            raise GpuUnavailable(
                "the GPU process has been closed" if self._closed else "the GPU process dies again and again"
            )
        if self._life is not None and self._life.ended:
            self._deaths = 0 if self._life.sessions_ended else self._deaths + 1
            self._life = None
            if self._deaths >= _DEATHS:
                log.error("gpu.left_alone", seconds=_PAUSE_SECONDS, deaths=self._deaths)
                self._deaths, self._left_until = 0, now + _PAUSE_SECONDS
                raise GpuUnavailable("the GPU process dies again and again")
        if self._life is None:
            self._life = _Life(self._arena, self._command)
        try:
            await self._life.ready(START_SECONDS)
        except TimeoutError:
            await self._life.stop()
            raise GpuUnavailable("the GPU process does not come up") from None
        return self._life


class _Life:
    """One process, from its start to its end."""

    def __init__(self, arena: Arena, command: Sequence[str]) -> None:
        assert arena.gpu is not None
        ours, theirs = wire.pair()
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(arena.gpu.ordinal)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment() | {"CUDA_MODULE_LOADING": "LAZY"},
            )
        wire.send_with_descriptors(
            ours, encode("arena", nbytes=arena.nbytes, handle=arena.gpu.handle.hex()), [arena.fd]
        )
        self._channel = ours
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._sessions: dict[int, asyncio.Event] = {}
        self._buried: asyncio.Future[int] | None = None
        self.sessions_ended = 0
        ours.setblocking(False)
        self._loop.add_reader(ours.fileno(), self._on_readable)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether no more can be had from it."""
        return self._buried is not None

    async def ready(self, timeout: float) -> None:
        """Wait until it serves. Raises ``TimeoutError`` and ``GpuUnavailable``."""
        async with asyncio.timeout(timeout):
            await asyncio.shield(self._ready)

    def begin_session(self, number: int, allowed: bytes, ends: Sequence[socket.socket]) -> None:
        """Hand a session its ends, which are closed here."""
        try:
            wire.send_with_descriptors(self._channel, allowed, [end.fileno() for end in ends])
            self._sessions[number] = asyncio.Event()
        except OSError as error:
            raise GpuUnavailable(str(error)) from error
        finally:
            for end in ends:
                end.close()

    async def end_session(self, number: int) -> None:
        """Wait until the session is over, or the process is."""
        over = self._sessions.get(number)
        if over is None or self._buried is not None:
            if self._buried is not None:
                await asyncio.shield(self._buried)
            return
        try:
            self._channel.send(encode("end", session=number))
            async with asyncio.timeout(END_SECONDS):
                await over.wait()
        except (OSError, TimeoutError) as error:
            log.warning("gpu.session_does_not_end", cause=type(error).__name__)
            await self.stop()  # nothing else ends its writing for certain
        self._sessions.pop(number, None)

    async def stop(self) -> None:
        """Kill it, and wait for its end. Safe to call again."""
        await asyncio.shield(self._bury())

    def _bury(self) -> asyncio.Future[int]:
        if self._buried is None:
            self._loop.remove_reader(self._channel.fileno())
            self._channel.close()
            self._process.kill()
            self._buried = self._loop.run_in_executor(None, self._process.wait)
            self._buried.add_done_callback(self._gone)
            if not self._ready.done():
                self._ready.set_exception(GpuUnavailable("the GPU process died"))
                self._ready.exception()  # nobody may wait for it
        return self._buried

    def _gone(self, _: object) -> None:
        for over in self._sessions.values():
            over.set()

    def _on_readable(self) -> None:
        try:
            data = self._channel.recv(MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            log.warning("gpu.process_died", sessions=len(self._sessions))
            self._bury()
            return
        message = Message(data)
        if message.kind == "ready":
            if not self._ready.done():
                self._ready.set_result(None)
        elif message.kind == "ended" and (over := self._sessions.get(message.integer("session"))):
            self.sessions_ended += 1
            over.set()

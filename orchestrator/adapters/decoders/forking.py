"""The fork server as the service sees it: started when it is first needed, and again after it died."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path

import psutil
import structlog

from orchestrator.adapters.decoders import wire
from orchestrator.adapters.decoders.wire import MAX_MESSAGE, Message, ProtocolError, encode

log = structlog.get_logger(__name__)

START_SECONDS = 60.0
_PACKAGES = str(Path(__file__).resolve().parents[3])


class ForkServerDied(Exception):
    """No process can be had from it: it did not come up, died, or may have no more processes."""


class Forked:
    """A process that the fork server has made. ``returncode`` (negative: a signal) is known behind its end, unless the fork
    server died before it could tell.
    """

    def __init__(self, pid: int, handle: int) -> None:
        self.pid, self._handle = pid, handle
        self.returncode: int | None = None
        self._over = asyncio.Event()

    def kill(self) -> None:
        """End it at once."""
        if not self._over.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    async def wait(self) -> int | None:
        """Wait until it is dead; returns ``returncode``."""
        await self._over.wait()
        return self.returncode

    def end(self, status: int | None) -> None:
        """It is dead; the first who knows counts."""
        if self._over.is_set():
            return
        self.returncode = status
        os.close(self._handle)
        self._over.set()

    def end_untold(self) -> None:
        """Kill it, and see its end without the fork server."""
        loop = asyncio.get_running_loop()

        def over() -> None:
            loop.remove_reader(handle)
            self.end(None)
            os.close(handle)

        if not self._over.is_set():
            self.kill()
            handle = os.dup(self._handle)  # its own: the fork server may tell meanwhile
            loop.add_reader(handle, over)


class ForkServer:
    """Forks warm workers. ``start()`` inside the event loop warms it up early; ``close()`` in the end."""

    def __init__(self) -> None:
        self._life: _Life | None = None
        self._closed = False

    async def start(self) -> None:
        """Warm up (in the background)."""
        self._current()

    async def fork(self, channel: socket.socket, threads: int, address_space: int) -> Forked:
        """A worker that talks on ``channel``. Raises ``ForkServerDied``."""
        life = self._current()
        try:
            async with asyncio.timeout(START_SECONDS):
                return await life.fork(channel, threads, address_space)
        except TimeoutError:
            life.end()
            raise ForkServerDied("the fork server does not answer") from None

    @property
    def alive(self) -> bool:
        """Whether it is there, or on its way, and has not been stopped."""
        return self._life is not None and not self._life.ended and not self._life.stopped

    @property
    def children(self) -> int:
        """How many of its workers live."""
        return 0 if self._life is None else self._life.children

    async def close(self) -> None:
        """End it, with every worker that it has forked."""
        self._closed = True
        if self._life is not None:
            await self._life.end()

    def _current(self) -> _Life:
        if self._closed:
            raise ForkServerDied("the fork server has been closed")
        if self._life is None or self._life.ended:
            self._life = _Life()
        return self._life


class _Life:
    """One process of it, from its start to its end."""

    def __init__(self) -> None:
        ours, theirs = wire.pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.adapters.decoders.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=environment(),
            )
        self._channel = ours
        self._ready = asyncio.Event()
        self._asked: deque[asyncio.Future[Forked]] = deque()
        self._children: dict[int, Forked] = {}
        self._loop = asyncio.get_running_loop()
        self._buried: asyncio.Future[int] | None = None
        ours.setblocking(False)
        self._loop.add_reader(ours.fileno(), self._on_readable)

    @property
    def ended(self) -> bool:
        """Whether no more can be had from it."""
        return self._buried is not None

    @property
    def children(self) -> int:
        """How many of its workers live."""
        return len(self._children)

    @property
    def stopped(self) -> bool:
        """Whether a signal keeps it from running."""
        try:
            return psutil.Process(self._process.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False  # dead: its channel tells

    async def fork(self, channel: socket.socket, threads: int, address_space: int) -> Forked:
        """See ``ForkServer.fork``."""
        await self._ready.wait()
        answer: asyncio.Future[Forked] = self._loop.create_future()
        try:
            if self.ended:
                raise OSError("the fork server has ended")
            asked = encode("fork", threads=threads, address_space=address_space)
            wire.send_with_descriptors(self._channel, asked, [channel.fileno()])
        except OSError as error:
            raise ForkServerDied(str(error)) from error
        self._asked.append(answer)
        return await answer

    def end(self) -> asyncio.Future[int]:
        """Kill what is left of it and its children. Safe to call again; the future is done when the process is gone."""
        if self._buried is None:
            self._loop.remove_reader(self._channel.fileno())
            self._channel.close()
            self._process.kill()
            self._buried = self._loop.run_in_executor(None, self._process.wait)
            self._ready.set()  # whoever waits for it learns that it has ended
            for child in self._children.values():
                child.end_untold()
            for answer in self._asked:
                if not answer.done():
                    answer.set_exception(ForkServerDied("the fork server died"))
        return self._buried

    def _on_readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        try:
            if data:
                self._heed(Message(data), descriptors)
                return
            log.warning("decoder.fork_server_died", children=len(self._children))
        except ProtocolError as error:
            log.error("decoder.fork_server_broken", cause=str(error))
        self.end()

    def _heed(self, message: Message, descriptors: list[int]) -> None:
        if message.kind == "ready":
            self._ready.set()
        elif message.kind == "ended":
            child = self._children.pop(message.integer("pid", 1), None)
            if child is not None:
                child.end(message.integer("status", -64, 255))
        elif message.kind in ("forked", "refused") and self._asked:
            answer = self._asked.popleft()
            if message.kind == "refused":
                if not answer.done():
                    answer.set_exception(ForkServerDied("no more processes can be had"))
                return
            (handle,) = descriptors
            child = self._children[message.integer("pid", 1)] = Forked(message.integer("pid", 1), handle)
            if answer.done():  # whoever asked has gone
                child.kill()
            else:
                answer.set_result(child)
        else:
            raise ProtocolError("an unexpected message")


def environment() -> dict[str, str]:
    """A small environment for a process of ours: nothing of the service's own (it may hold secrets) but where Python finds its packages."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TZ") if name in os.environ}
    single = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    return {**kept, **single, "PYTHONPATH": _PACKAGES, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}

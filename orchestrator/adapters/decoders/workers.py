"""Worker processes as the service sees them: started, spoken to, ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque

from orchestrator.adapters.decoders import wire
from orchestrator.adapters.decoders.forking import START_SECONDS, Forked, ForkServer, ForkServerDied
from orchestrator.adapters.decoders.wire import MAX_MESSAGE, Message

_PAUSE_AT = 64  # messages kept here before the kernel's buffer, and then the worker, have to wait
_DYING_SECONDS = 1.0
_REAPING_SECONDS = 10.0  # for the fork server to tell that a killed worker is dead


class WorkerDied(Exception):
    """The worker is gone; ``status`` is its exit status (negative: a signal)."""

    def __init__(self, status: int | None, cause: str = "") -> None:
        super().__init__(cause or ("lost" if status is None else f"ended with status {status}"))
        self.status = status


class WorkerHung(WorkerDied):
    """The worker was silent although it could work, and was killed."""


class WorkerLost(WorkerDied):
    """What workers are forked from is gone, and the worker with it: whatever ended that was not the worker's media."""


class Worker:
    """One worker process. Use ``await Worker.start(...)``, and ``await stop()`` in the end."""

    def __init__(self, process: Forked, channel: socket.socket) -> None:
        self.process, self._channel = process, channel
        self._loop = asyncio.get_running_loop()
        self._messages: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._ended = self._reading = self._stopped = False
        channel.setblocking(False)
        self._read(True)

    @classmethod
    async def start(cls, forks: ForkServer, threads: int, address_space: int) -> Worker:
        """A warm worker. Raises ``WorkerDied`` when it does not come up."""
        ours, theirs = wire.pair()
        try:
            with theirs:
                process = await forks.fork(theirs, threads, address_space)
        except BaseException as error:
            ours.close()
            if isinstance(error, ForkServerDied):
                raise WorkerLost(None, str(error)) from error
            raise
        worker = cls(process, ours)
        try:
            message = await worker.receive(START_SECONDS)
            if message is None or message.kind != "ready":
                raise WorkerDied(None)
        except BaseException:
            await worker.stop()
            raise
        return worker

    async def receive(self, timeout: float) -> Message | None:
        """The next message; ``None`` after ``timeout`` seconds without one. Raises ``WorkerDied`` and ``ProtocolError``."""
        if not self._messages and not self._ended:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
        if self._messages:
            data = self._messages.popleft()
            if not self._reading and len(self._messages) < _PAUSE_AT // 2:
                self._read(True)
            return Message(data)
        if self._ended:
            status = await self._reap()
            raise WorkerLost(None) if status is None else WorkerDied(status)
        return None

    def send(self, data: bytes) -> None:
        """Send a message; a worker that does not take it is killed (and found dead by ``receive``)."""
        try:
            self._channel.send(data)
        except BlockingIOError:
            self.kill()
        except OSError:
            pass  # dead: receive tells

    def send_job(self, data: bytes, descriptors: list[int]) -> None:
        """Send the job with its descriptors."""
        try:
            wire.send_with_descriptors(self._channel, data, descriptors)
        except OSError:
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()

    async def stop(self) -> None:
        """Kill, reap, close. Safe to call again."""
        if self._stopped:
            return
        self._stopped = True
        self.kill()
        self._read(False)
        self._channel.close()
        await asyncio.shield(self._reap())

    async def _reap(self) -> int | None:
        """Its own exit status where it is ending by itself, else that of our kill."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DYING_SECONDS):
                return await self.process.wait()
        self.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REAPING_SECONDS):
                return await self.process.wait()
        self.process.end_untold()  # the fork server does not answer
        return await self.process.wait()

    def _read(self, on: bool) -> None:
        if on == self._reading:
            return
        self._reading = on
        if on:
            self._loop.add_reader(self._channel.fileno(), self._on_readable)
        else:
            self._loop.remove_reader(self._channel.fileno())

    def _on_readable(self) -> None:
        while len(self._messages) < _PAUSE_AT:
            try:
                data = self._channel.recv(MAX_MESSAGE)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._ended = True
                self._read(False)
                break
            self._messages.append(data)
        else:
            self._read(False)
        self._arrived.set()

"""Worker processes as the service sees them: started, warmed up, spoken to, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path

import structlog

from orchestrator.adapters.decoders import wire
from orchestrator.adapters.decoders.wire import MAX_MESSAGE, Message, ProtocolError

log = structlog.get_logger()

START_SECONDS = 60.0
_PAUSE_AT = 64  # messages kept here before the kernel's buffer, and then the worker, have to wait
_PACKAGES = str(Path(__file__).resolve().parents[3])


REFILL_SECONDS = 1.5  # starting a Python competes with the first segment of the media that took the spare


class WorkerDied(Exception):
    """The worker is gone; ``status`` is its exit status (negative: a signal)."""

    def __init__(self, status: int | None, cause: str = "") -> None:
        super().__init__(cause or f"ended with status {status}")
        self.status = status


class WorkerHung(WorkerDied):
    """The worker was silent although it could work, and was killed."""


class Worker:
    """One worker process. Use ``await Worker.start(...)``, and ``await stop()`` in the end."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self.process, self._channel = process, channel
        self._loop = asyncio.get_running_loop()
        self._messages: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._ended = self._reading = self._stopped = False
        channel.setblocking(False)
        self._read(True)

    @classmethod
    async def start(cls, threads: int, address_space: int) -> Worker:
        """A warm worker. Raises ``WorkerDied`` when it does not come up."""
        process, ours = cls._spawn(threads, address_space)
        worker = cls(process, ours)
        try:
            message = await worker.receive(START_SECONDS)
            if message is None or message.kind != "ready":
                raise WorkerDied(None)
        except BaseException:
            await worker.stop()
            raise
        return worker

    @staticmethod
    def _spawn(threads: int, address_space: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """The process and our end of its socket."""
        ours, theirs = wire.pair()
        with theirs:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "orchestrator.adapters.decoders.worker",
                    str(theirs.fileno()),
                    str(threads),
                    str(address_space),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
            )
        return process, ours

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
            raise WorkerDied(await self._reap())
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

    async def _reap(self) -> int:
        return await self._loop.run_in_executor(None, self._wait)

    def _wait(self) -> int:
        """Its own exit status where it is ending by itself, else that of our kill."""
        try:
            return self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.wait()

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


class WorkerPool:
    """Keeps ``spares`` warm workers, so that opening a media does not wait for Python to start."""

    def __init__(self, threads: int, address_space: int, spares: int) -> None:
        self._threads, self._address_space, self._spares = threads, address_space, spares
        self._warm: deque[asyncio.Task[Worker]] = deque()
        self._refill: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self) -> Worker:
        """A warm worker; another is started in its place, a little later or when ``fill`` says so. Raises ``WorkerDied`` when
        none comes up."""
        task = self._warm.popleft() if self._warm else self._start()
        if self._refill is None:
            self._refill = asyncio.get_running_loop().call_later(REFILL_SECONDS, self.fill)
        try:
            worker = await asyncio.shield(task)
        except asyncio.CancelledError:
            self._warm.append(task)
            raise
        if worker.process.poll() is not None:
            await worker.stop()
            log.warning("spare decode worker died", status=worker.process.returncode)
            return await Worker.start(self._threads, self._address_space)
        return worker

    def fill(self) -> None:
        """Start missing spares in the background."""
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        while len(self._warm) < self._spares and not self._closed:
            self._warm.append(self._start())

    async def close(self) -> None:
        """End all spares; no more are started."""
        self._closed = True
        if self._refill is not None:
            self._refill.cancel()
        while self._warm:
            task = self._warm.popleft()
            with contextlib.suppress(WorkerDied, ProtocolError):
                await (await task).stop()

    def _start(self) -> asyncio.Task[Worker]:
        return asyncio.create_task(Worker.start(self._threads, self._address_space))


def _environment() -> dict[str, str]:
    """A small environment: nothing of the service's own (it may hold secrets) but where Python finds its packages."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TZ") if name in os.environ}
    single = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    return {**kept, **single, "PYTHONPATH": _PACKAGES, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}

"""What the peers share: frames in batches out of libav's own threads, threads that ask about them, a server that is warm, and what
a run says.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType

import av
import numpy as np

from tests.benchmarks.bare import BATCH, SIZE, Scaler
from tests.benchmarks.cpu import Meter, busy
from tests.media.clips import Picture

START_SECONDS = 120.0
STOP_SECONDS = 10.0

Ask = Callable[[Picture], int]


def batches(clip: str, rows: int = BATCH) -> Iterator[Picture]:
    """Every frame of ``clip``, decoded by libav's own threads and scaled: uint8 ``[rows, 224, 224, 3]``, the last batch shorter. Each is a
    new array.
    """
    scaler, batch, used = Scaler(), blank(rows), 0
    with av.open(clip) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            scaler.write(frame, batch[used])
            used += 1
            if used == rows:
                yield batch
                batch, used = blank(rows), 0
    if used:
        yield batch[:used]


def blank(rows: int = BATCH) -> Picture:
    """A batch without a picture, to be filled or to warm up with."""
    return np.empty((rows, SIZE, SIZE, 3), np.uint8)


class Askers:
    """Threads that ask about batches out of a bounded queue. Each begins with an ``Ask`` of its own (a session, a connection), which
    takes a batch and returns how many of its frames were answered.
    """

    def __init__(self, count: int, start: Callable[[], Ask]) -> None:
        self._start = start
        self._queue = queue.Queue[Picture | None](2 * count)
        self._lock, self._answered = threading.Lock(), 0
        self._failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]

    def __enter__(self) -> Askers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def answer(self, asked: Iterable[Picture]) -> int:
        """Have them all answered; returns the number of frames that were. Raises ``RuntimeError`` from the first failure."""
        before = self._answered
        for batch in asked:
            self._queue.put(batch)
            if self._failure is not None:
                break
        self._queue.join()
        if self._failure is not None:
            raise RuntimeError("a batch was not answered") from self._failure
        return self._answered - before

    def warm_up(self, rows: int = BATCH) -> None:
        """Four blank batches for each thread."""
        self.answer(blank(rows) for _ in range(4 * len(self._threads)))

    def _work(self) -> None:
        ask: Ask | None = None
        while (batch := self._queue.get()) is not None:
            try:
                if self._failure is None:  # else the queue is only emptied
                    ask = ask or self._start()
                    answered = ask(batch)
                    with self._lock:
                        self._answered += answered
            except BaseException as error:
                self._failure = error
            finally:
                self._queue.task_done()


def measured(work: Callable[[], int]) -> None:
    """Run ``work``, which returns how many frames it answered, and print that with the wall seconds, the CPU seconds of this process
    and all below it, and the cores that others took.
    """
    wall, taken = time.perf_counter(), busy()
    with Meter(os.getpid()) as meter:
        frames = work()
        wall = time.perf_counter() - wall
    others = max(0.0, busy() - taken - meter.seconds) / wall
    sys.stdout.write(json.dumps({"frames": frames, "wall": wall, "cpu": meter.seconds, "others": others}) + "\n")


@contextmanager
def serving(
    command: Sequence[str], port: int, path: str, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """A server that answers ``path`` over HTTP with 200 once it is ready; its whole process group is ended."""
    server = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, env=os.environ | environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(port, path):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} did not start (status {server.poll()})")
            time.sleep(0.2)
        yield
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _is_ready(port: int, path: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False

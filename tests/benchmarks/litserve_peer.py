"""A client of LitServe that does the work of our service: decodes a clip, asks about every frame, counts answers.

python -m tests.benchmarks.litserve_peer CLIP raw|json    # prints frames, wall, CPU (server and client), others' cores

libav's own threads decode; a few connections that stay open post eight frames at a time (``json``: one at a time, over
eight times as many), so that the workers never wait.
"""

from __future__ import annotations

import base64
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
from pathlib import Path

import av
import numpy as np

from tests.benchmarks.bare import BATCH, SIZE, Scaler
from tests.benchmarks.cpu import Others, tree_cpu

START_SECONDS = 120.0


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server says that it is healthy."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"LitServe did not start (status {server.poll()})")


class Posters:
    """Connections, each with a thread, fed from a bounded queue. ``answers`` counts frames."""

    def __init__(self, port: int, count: int, kind: str) -> None:
        self._port, self._kind, self._queue = port, kind, queue.Queue[bytes | None](count)
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]
        self._lock, self.answers = threading.Lock(), 0
        self._failure: BaseException | None = None
        for thread in self._threads:
            thread.start()

    def post(self, frames: bytes) -> None:
        """Queue a batch; waits while all connections are at work."""
        while self._failure is None:
            try:
                return self._queue.put(frames, timeout=1)
            except queue.Full:
                continue
        raise RuntimeError("LitServe refused a request") from self._failure

    def finish(self) -> None:
        """Wait for the last answer."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise RuntimeError("LitServe refused a request") from self._failure

    def _work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        while (frames := self._queue.get()) is not None:
            if self._failure is None:
                try:
                    connection.request("POST", "/predict", *_body(frames, self._kind))
                    reply = connection.getresponse()
                    body = reply.read()
                    if reply.status != 200:
                        raise RuntimeError(f"status {reply.status}: {body[:200]!r}")
                    with self._lock:
                        self.answers += np.reshape(json.loads(body)["classes"], (-1, 10)).shape[0]
                except BaseException as error:
                    self._failure = error


def _body(frames: bytes, kind: str) -> tuple[bytes, dict[str, str]]:
    if kind == "raw":
        return frames, {"Content-Type": "application/octet-stream"}
    return json.dumps({"frame": base64.b64encode(frames).decode()}).encode(), {"Content-Type": "application/json"}


def label(clip: str, port: int, connections: int, kind: str) -> int:
    """Ask about every frame of ``clip``; returns the number of answers."""
    posters, scaler = Posters(port, connections, kind), Scaler()
    rows = BATCH if kind == "raw" else 1
    batch, used = np.empty((rows, SIZE, SIZE, 3), np.uint8), 0
    try:
        with av.open(clip) as container:
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                scaler.write(frame, batch[used])
                used += 1
                if used == rows:
                    posters.post(batch.tobytes())
                    used = 0
        if used:
            posters.post(batch[:used].tobytes())
    finally:
        posters.finish()
    return posters.answers


def main(clip: str, kind: str) -> None:
    """Serve, warm up, measure, stop."""
    port, connections = free_port(), (len(os.sched_getaffinity(0)) + 1) * (1 if kind == "raw" else BATCH)
    command = [sys.executable, "-m", "tests.benchmarks.litserve_server", str(port), kind]
    server = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        warm = Posters(port, connections, kind)
        for _ in range(4 * connections):
            warm.post(bytes((BATCH if kind == "raw" else 1) * SIZE * SIZE * 3))
        warm.finish()
        wall, cpu = time.perf_counter(), tree_cpu(server.pid) + time.process_time()
        with Others() as others:  # here, for nobody reaps the workers of a killed server
            answers = label(clip, port, connections, kind)
        wall, cpu = time.perf_counter() - wall, tree_cpu(server.pid) + time.process_time() - cpu
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    sys.stdout.write(json.dumps({"frames": answers, "wall": wall, "cpu": cpu, "others": others.cores}) + "\n")


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()), sys.argv[2])

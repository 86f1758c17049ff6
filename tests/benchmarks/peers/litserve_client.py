"""A client of LitServe that does the work of our service: decodes a clip, asks about every frame, counts answers.

python -m tests.benchmarks.peers.litserve_client CLIP raw|json    # prints the run as JSON, server and client together

A few connections that stay open post eight frames at a time (``json``: one at a time, over eight times as many), so that the
workers never wait.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
from pathlib import Path

import numpy as np

from tests.benchmarks.bare import BATCH
from tests.benchmarks.peers.common import Ask, Askers, batches, free_ports, measured, serving
from tests.benchmarks.service import cores


def poster(port: int, kind: str) -> Ask:
    """A connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def post(frames: bytes) -> int:
        connection.request("POST", "/predict", *_body(frames, kind))
        reply = connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"status {reply.status}: {body[:200]!r}")
        return int(np.reshape(json.loads(body)["classes"], (-1, 10)).shape[0])

    return lambda batch: post(batch.tobytes())


def _body(frames: bytes, kind: str) -> tuple[bytes, dict[str, str]]:
    if kind == "raw":
        return frames, {"Content-Type": "application/octet-stream"}
    return json.dumps({"frame": base64.b64encode(frames).decode()}).encode(), {"Content-Type": "application/json"}


def main(clip: str, kind: str) -> None:
    """Serve, warm up, measure, stop."""
    rows, connections = (BATCH, cores() + 1) if kind == "raw" else (1, BATCH * (cores() + 1))
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.benchmarks.peers.litserve_server", str(port), kind]
    with serving(command, port, "/health"), Askers(connections, lambda: poster(port, kind)) as askers:
        askers.warm_up(rows)
        measured(lambda: askers.answer(batches(clip, rows)))


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()), sys.argv[2])

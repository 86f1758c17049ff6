"""A client of PyTriton that does the work of our service: decodes a clip, asks about every frame, counts answers.

python -m tests.benchmarks.peers.pytriton_client CLIP    # prints the run as JSON, server and client together

Batches of eight lie in system shared memory and are asked for over gRPC, by one thread more than there are callables, so that these
never wait. (PyTriton's own client sends them inline.)
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import tritonclient.grpc as triton
from tritonclient.utils import shared_memory

from orchestrator.adapters.triton import distribution
from orchestrator.settings import Settings
from tests.benchmarks.peers import environment
from tests.benchmarks.peers.common import Ask, Askers, batches, blank, free_ports, measured, serving
from tests.benchmarks.service import cores
from tests.media.clips import Picture
from tests.support.served import served

SERVER = Path(__file__).with_name("pytriton_server.py")


def asker(port: int, stack: ExitStack) -> Ask:
    """A connection and a region of its own; the latter ends with ``stack``."""
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    size = blank().nbytes
    key = f"reelsift-bench-{os.getpid()}-{id(client):x}"
    region = shared_memory.create_shared_memory_region(key, f"/{key}", size)
    stack.callback(shared_memory.destroy_shared_memory_region, region)
    client.register_system_shared_memory(key, f"/{key}", size)
    wanted = [triton.InferRequestedOutput("scores"), triton.InferRequestedOutput("classes")]

    def ask(batch: Picture) -> int:
        shared_memory.set_shared_memory_region(region, [batch])
        frames = triton.InferInput("frames", list(batch.shape), "UINT8")
        frames.set_shared_memory(key, batch.nbytes)
        return len(client.infer("labels", [frames], outputs=wanted).as_numpy("classes"))

    return ask


def main(clip: str) -> None:
    """Serve, warm up, measure, stop."""
    python = environment.python("bench-pytriton")
    model = served(Settings().model_repository, "labels") / "model.onnx"
    http_port, grpc_port = free_ports(2)
    command = [str(python), str(SERVER), str(model), str(http_port), str(grpc_port)]
    with ExitStack() as stack:
        variables = {
            "PYTRITON_HOME": stack.enter_context(TemporaryDirectory(prefix="bench-")),
            "PATH": f"{python.parent}:{os.environ['PATH']}",  # Triton's stub takes the first python3
            "LD_LIBRARY_PATH": distribution.install().library_path,  # where it finds libpython
        }
        stack.enter_context(serving(command, http_port, "/v2/models/labels/ready", variables))
        with Askers(cores() + 1, lambda: asker(grpc_port, stack)) as askers:
            askers.warm_up()
            measured(lambda: askers.answer(batches(clip)))


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()))

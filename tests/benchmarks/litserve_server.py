"""LitServe serving the same model file, set up as its documentation advises: a worker per core, the fast queue.

python -m tests.benchmarks.litserve_server PORT

Better than its documentation: frames come as raw bytes (the documented ways are JSON and multipart forms), eight to a
request, and each worker has one thread, because ONNX Runtime's default lets the workers fight for the cores.
"""

# No `from __future__ import annotations`: LitServe reads the annotation of `decode_request` as it is.
import os
import sys
from typing import Annotated, Any

import litserve as ls
import numpy as np
from fastapi import Body

from tests.benchmarks.bare import SIZE, session

Bytes = Annotated[bytes, Body(media_type="application/octet-stream")]


class Labels(ls.LitAPI):
    """uint8 ``[n, 224, 224, 3]`` in; the ten best classes and their scores per frame out, as JSON."""

    def setup(self, device: str) -> None:
        """Load the model, once per worker."""
        self._model = session(threads=1)

    def decode_request(self, request: Bytes) -> Any:
        """The frames, without a copy."""
        return np.frombuffer(request, np.uint8).reshape(-1, SIZE, SIZE, 3)

    def predict(self, x: Any) -> Any:
        """The answers."""
        return self._model.run(["scores", "classes"], {"frames": x})

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Plain lists."""
        return {"scores": output[0].tolist(), "classes": output[1].tolist()}


if __name__ == "__main__":
    workers = len(os.sched_getaffinity(0))
    server = ls.LitServer(Labels(), accelerator="cpu", workers_per_device=workers, fast_queue=True, timeout=120)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )

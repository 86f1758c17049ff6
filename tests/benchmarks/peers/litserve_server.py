"""LitServe serving the same model file, in two ways, both with a worker per core, one thread each, and the fast queue.

    python -m tests.benchmarks.peers.litserve_server PORT raw     # better than its documentation: eight frames as raw bytes
    python -m tests.benchmarks.peers.litserve_server PORT json    # as documented: a frame per request as base64 in JSON, which
                                                            # LitServe itself puts together to batches of eight

One thread, because ONNX Runtime's default lets the workers fight for the cores.
"""

# No `from __future__ import annotations`: LitServe reads the annotation of `decode_request` as it is.
import base64
import os
import sys
from typing import Annotated, Any

import litserve as ls
import numpy as np
from fastapi import Body

from tests.benchmarks.bare import BATCH, SIZE, session

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


class DocumentedLabels(Labels):
    """One frame in, its classes and scores out."""

    def decode_request(self, request: dict[str, str]) -> Any:  # type: ignore[override]
        """The frame."""
        return np.frombuffer(base64.b64decode(request["frame"]), np.uint8).reshape(SIZE, SIZE, 3)

    def batch(self, inputs: list[Any]) -> Any:
        """Up to eight frames."""
        return np.stack(inputs)

    def unbatch(self, output: Any) -> Any:
        """Answers one by one."""
        return list(zip(*output, strict=True))


if __name__ == "__main__":
    api = Labels() if sys.argv[2] == "raw" else DocumentedLabels(max_batch_size=BATCH, batch_timeout=0.02)
    workers = len(os.sched_getaffinity(0))
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=workers, fast_queue=True, timeout=120)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )

"""PyTriton serving the same model file: a callable per core, each with a session of one thread, asked by eight frames.

    PYTHON pytriton_server.py MODEL HTTP_PORT GRPC_PORT    # by the Python of PyTriton's own environment

Without PyTriton's decorator ``batch``, which would copy requests into one array that are a full batch each already.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

BATCH, SIZE, BEST = 8, 224, 10


def labels(model: str) -> Callable[[list[Any]], list[dict[str, Any]]]:
    """A callable with a session of its own."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = ["scores", "classes"]

    def infer(requests: list[Any]) -> list[dict[str, Any]]:
        return [
            dict(zip(names, session.run(names, {"frames": request["frames"]}), strict=True)) for request in requests
        ]

    return infer


def main(model: str, http_port: str, grpc_port: str) -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # PyTriton tidies up after SIGINT alone
    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(http_port), grpc_address="127.0.0.1", grpc_port=int(grpc_port), allow_metrics=False
    )  # fmt: skip
    open_to_all = TritonSecurityConfig(restricted_endpoints=[])  # or else nobody may register shared memory
    with Triton(config=config, security_config=open_to_all) as triton:
        triton.bind(
            model_name="labels",
            infer_func=[labels(model) for _ in os.sched_getaffinity(0)],
            inputs=[Tensor(name="frames", dtype=np.uint8, shape=(SIZE, SIZE, 3))],
            outputs=[Tensor(name="scores", dtype=np.float32, shape=(BEST,)), Tensor(name="classes", dtype=np.int64, shape=(BEST,))],
            config=ModelConfig(max_batch_size=BATCH),
        )  # fmt: skip
        triton.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])

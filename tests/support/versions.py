"""Versions of a tiny model, of every character: each as export would have left it, with manifest and golden answers.

The model is that of ``tests/integration/adapters/triton/conftest.py``: ``image`` u8 [n, 16, 16, 3] -> ``sums`` f32 [n, 3] and ``flat``
f32 [n, 768].
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from orchestrator.adapters.triton import server

SIDE = 16
TOLERANCES = {"sums": 0.5, "flat": 0.01}

_CODE = """
import os, sys, time
sys.path.insert(0, {backend!r})
import numpy as np
import triton_python_backend_utils as triton
import dlpack

class TritonPythonModel:
    def initialize(self, args):
        self.asked, self.kept = 0, []
        {loading}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        self.asked += 1
        pixels = np.from_dlpack(triton.get_input_tensor_by_name(request, "image")).astype(np.float32)
        sums, flat = pixels.sum((1, 2)), pixels.reshape(len(pixels), -1)
        {asked}
        return triton.InferenceResponse([
            triton.Tensor.from_dlpack(name, dlpack.capsule(np.ascontiguousarray(array)))
            for name, array in (("sums", sums), ("flat", flat))
        ])
"""

_CONFIG = """
    name: "{model}" backend: "python" max_batch_size: {batch}
    input [{{ name: "image" data_type: TYPE_UINT8 dims: [{side}, {side}, 3] }}]
    output [{{ name: "sums" data_type: TYPE_FP32 dims: [3] }}]
    output [{{ name: "{flat}" data_type: TYPE_FP32 dims: [{size}] }}]
    instance_group [{{ kind: KIND_CPU count: {instances} }}]
"""


def write_version(
    repository: Path,
    version: int,
    *,
    asked: str = "pass",
    loading: str = "pass",
    instances: int = 1,
    batch: int = 8,
    flat: str = "flat",
    model: str = "one",
) -> Path:
    """A version in Python that does ``asked`` (a statement) at each request, and ``loading`` when it is loaded; else it is right."""
    folder = repository / model / str(version)
    folder.mkdir(parents=True)
    code = _CODE.format(backend=str(server._BACKENDS / "onnxruntime"), asked=asked, loading=loading)
    (folder / "model.py").write_text(code)
    config = _CONFIG.format(model=model, batch=batch, side=SIDE, size=SIDE * SIDE * 3, instances=instances, flat=flat)
    (folder / "config.pbtxt").write_text(config)
    return seal(folder, "model.py")


def seal(folder: Path, file: str) -> Path:
    """Give the version in ``folder``, whose model is ``file``, golden answers and a manifest."""
    made = {}
    for number, rows in enumerate((8, 3)):
        pixels = np.random.default_rng(number).integers(0, 256, (rows, SIDE, SIDE, 3), np.uint8)
        made[f"in/{number}/image"] = pixels
        made[f"out/{number}/sums"] = pixels.sum((1, 2), dtype=np.float32)
        made[f"out/{number}/flat"] = pixels.reshape(rows, -1).astype(np.float32)
    np.savez(folder / "golden.npz", **made)
    sign(folder, file)
    return folder


def sign(folder: Path, file: str) -> None:
    """A manifest that vouches for everything in ``folder`` as it is now."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
    manifest = {
        "name": folder.parent.name,
        "version": int(folder.name),
        "digest": files[file],
        "licence": "Apache-2.0",
        "precision": "fp16",
        "parity": {"outputs": [{"name": "sums", "max_abs_error": 0.25, "tolerance": 0.5}]},
        "files": files,
        "golden": {"file": "golden.npz", "tolerances": TOLERANCES},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))

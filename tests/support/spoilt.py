"""A further version of a model, made of the built one by spoiling its weights a little."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from orchestrator.settings import Settings


def repository_with(folder: Path, model: str, *, noise: float, version: int = 9) -> Path:
    """Make ``folder`` a repository of links to the built one that has a version of ``model`` besides: its weights carry normal noise of
    ``noise`` times their own deviation (0: the very same file)."""
    built = Settings().model_repository
    folder.mkdir()
    for each in built.iterdir():
        if each.is_dir() and each.name != model:
            (folder / each.name).symlink_to(each)
    (folder / model).mkdir()
    for each in (built / model).iterdir():
        (folder / model / each.name).symlink_to(each)
    spoilt = folder / model / str(version)
    spoilt.mkdir()
    weights = (built / model / "1" / "model.onnx").read_bytes()
    (spoilt / "model.onnx").write_bytes(spoil(weights, noise) if noise else weights)
    manifest = json.loads((built / model / "1" / "manifest.json").read_bytes())
    for golden in ("files", "golden"):  # it has none
        del manifest[golden]
    digest = hashlib.sha256((spoilt / "model.onnx").read_bytes()).hexdigest()
    (spoilt / "manifest.json").write_text(json.dumps(manifest | {"version": version, "digest": digest}))
    return folder


def spoil(weights: bytes, noise: float) -> bytes:
    """The network with noise on every weight of two or more dimensions."""
    network = onnx.load_from_string(weights)
    random = np.random.default_rng(5)
    for tensor in network.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim >= 2:
            noisy = values + random.normal(0, noise * values.std(), values.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noisy.astype(np.float32), tensor.name))
    return bytes(network.SerializeToString())

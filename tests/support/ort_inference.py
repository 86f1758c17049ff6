"""The ``Inference`` port inside this process: what the pipeline costs without Triton (goal P4), on the very same model files."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library is imported

import onnxruntime as ort

from orchestrator.core.results import ModelVersion
from tests.support.served import served


class OrtInference:
    """ONNX Runtime sessions of one thread each, ``workers`` requests at once."""

    def __init__(self, repository: Path, workers: int = 2) -> None:
        self._repository = repository
        self._pool = ThreadPoolExecutor(workers)
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._manifests: dict[str, dict[str, Any]] = {}

    async def ready(self, models: Sequence[str]) -> None:
        for model in models:
            if model not in self._sessions:
                await asyncio.to_thread(self._load, model)

    def _load(self, model: str) -> None:
        folder = served(self._repository, model)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._sessions[model] = ort.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._manifests[model] = json.loads((folder / "manifest.json").read_text())

    def batch(self, model: str) -> int:
        return int(self._manifests[model]["max_batch_size"])

    def version(self, model: str) -> ModelVersion:
        return ModelVersion(model, str(self._manifests[model]["version"]), self._manifests[model]["digest"])

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        output_dims: Mapping[str, tuple[int, ...]] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        rows: int | None = None,
    ) -> Mapping[str, np.ndarray]:
        manifest, session = self._manifests[model], self._sessions[model]
        feed = {}
        for tensor in manifest["inputs"]:
            value = inputs[tensor["name"]]
            if not isinstance(value, np.ndarray):
                value = value.array((self.batch(model), *tensor["dims"]))
            feed[tensor["name"]] = value if rows is None else value[: -(-rows // 2) * 2]
        names = [output.name for output in session.get_outputs()]
        values = await asyncio.get_running_loop().run_in_executor(self._pool, _in_runs, session, names, feed)
        return dict(zip(names, values, strict=True))


def _in_runs(session: ort.InferenceSession, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Two rows at a time, as the backend inside Triton does: other shapes give other last bits."""
    rows = len(next(iter(feed.values())))
    parts = [{name: array[at : at + 2] for name, array in feed.items()} for at in range(0, rows, 2)]
    return [np.concatenate(arrays) for arrays in zip(*(session.run(names, part) for part in parts), strict=True)]

"""Triton's backend ``onnxruntime`` as a Python-based backend: one ONNX Runtime session per model instance.

Runs inside a stub process of ``tritonserver``, never inside reelsift. Inputs are read in place, from the memory
that Triton shares with the stub. See ``options.py`` for the settings it honours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import priority  # type: ignore[import-not-found]

if priority.is_further():
    priority.step_back()  # what is imported now takes longest

import binding  # type: ignore[import-not-found]
import dlpack  # type: ignore[import-not-found]
import numpy as np
import onnxruntime as ort
import options as session_options  # type: ignore[import-not-found]
import triton_python_backend_utils as triton

#: On a CPU a batch is run so many rows at a time: what a few pictures need fits the caches, and two instances beside a
#: decoder do not push each other out of them (`labels`, bare: 9.2 ms a picture where eight at once cost 10.4).
ROWS_PER_RUN = 2


class TritonPythonModel:
    """One instance of a model (the class name is Triton's)."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Leave the config as it is: it is generated whole at export."""
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Make the session. Raises on a setting that is not honoured, a missing provider or names unlike the
        config's.
        """
        try:
            self._open(args)
        finally:
            priority.come_back()

    def _open(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        wanted = session_options.parse(config, args["model_instance_kind"], int(args["model_instance_device_id"]))
        file = Path(
            args["model_repository"], args["model_version"], config.get("default_model_filename") or "model.onnx"
        )
        self._session = _session(file, wanted)
        self._batched = int(config.get("max_batch_size", 0)) > 0
        self._on_cpu = len(wanted.providers) == 1
        self._inputs = _same_names("input", config, [node.name for node in self._session.get_inputs()])
        self._outputs = _same_names("output", config, [node.name for node in self._session.get_outputs()])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself, so that its make-up alone decides the answer."""
        if not self._on_cpu:
            return [self._respond(self._where_it_lies(request)) for request in requests]
        feeds = [{name: _view(request, name) for name in self._inputs} for request in requests]
        if not self._batched:
            return [self._respond(self._session.run(self._outputs, feed)) for feed in feeds]
        return [self._respond(self._in_runs(feed)) for feed in feeds]

    def _where_it_lies(self, request: Any) -> list[Any]:
        inputs = {}
        for name in self._inputs:
            capsule = triton.get_input_tensor_by_name(request, name).to_dlpack()
            inputs[name] = binding.lying(dlpack.facts(capsule), capsule)
        return list(binding.run(self._session, self._outputs, inputs))

    def _in_runs(self, feed: dict[str, Any]) -> list[Any]:
        rows = len(feed[self._inputs[0]])
        if rows <= ROWS_PER_RUN:
            return list(self._session.run(self._outputs, feed))
        starts = range(0, rows, ROWS_PER_RUN)
        parts = [{name: array[start : start + ROWS_PER_RUN] for name, array in feed.items()} for start in starts]
        answers = [self._session.run(self._outputs, part) for part in parts]
        return [np.concatenate(arrays) for arrays in zip(*answers, strict=True)]

    def _respond(self, arrays: list[Any]) -> Any:
        tensors = [
            triton.Tensor.from_dlpack(name, dlpack.capsule(array))
            for name, array in zip(self._outputs, arrays, strict=True)
        ]
        return triton.InferenceResponse(tensors)


def _session(file: Path, wanted: session_options.Options) -> ort.InferenceSession:
    made = ort.SessionOptions()
    made.intra_op_num_threads, made.inter_op_num_threads = wanted.intra_op_threads, wanted.inter_op_threads
    made.execution_mode = ort.ExecutionMode.ORT_PARALLEL if wanted.parallel else ort.ExecutionMode.ORT_SEQUENTIAL
    made.enable_cpu_mem_arena, made.enable_mem_pattern = wanted.memory_arena, wanted.memory_pattern
    made.graph_optimization_level = getattr(ort.GraphOptimizationLevel, wanted.graph_level)
    for key, value in wanted.entries.items():
        made.add_session_config_entry(key, value)
    names = [name for name, _ in wanted.providers]
    session = ort.InferenceSession(str(file), made, providers=list(wanted.providers))
    # ONNX Runtime only warns when a provider cannot start, and runs on the CPU: a silent fallback.
    if lacking := [name for name in names if name not in session.get_providers()]:
        raise session_options.ConfigError(f"this ONNX Runtime cannot start {', '.join(lacking)}")
    return session


def _same_names(side: str, config: dict[str, Any], actual: list[str]) -> list[str]:
    declared = [tensor["name"] for tensor in config.get(side, [])]
    unknown = sorted(set(declared) - set(actual))
    if unknown or (side == "input" and set(declared) != set(actual)):
        raise session_options.ConfigError(
            f"config.pbtxt declares {side}s {sorted(declared)}, the graph has {sorted(actual)}"
        )
    return declared


def _view(request: Any, name: str) -> Any:
    return np.from_dlpack(triton.get_input_tensor_by_name(request, name))

"""The settings of a model's config.pbtxt, as ONNX Runtime's session options.

Names and meanings are those of Triton's C++ backend ``onnxruntime`` (its README, "Model Config Options"), so that
one model repository serves from both. What this backend does not honour is an error when the model loads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Provider = tuple[str, dict[str, str]]

#: graph.level of the C++ backend -> name in ``onnxruntime.GraphOptimizationLevel``
_GRAPH_LEVELS = {0: "ORT_ENABLE_ALL", -1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}
_PRECISION: dict[str, dict[str, str]] = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}
#: accelerator parameters that are named differently in ONNX Runtime; those that begin with ``trt_`` are named alike
_TENSORRT_NAMES = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_EXACT_PRODUCTS = "session.x64quantprecision"
_VNNI = {"avx512_vnni", "avx_vnni"}
_CPU: Provider = ("CPUExecutionProvider", {})


class ConfigError(ValueError):
    """A setting that this backend does not honour: names it, its value and what is allowed."""


@dataclass(frozen=True)
class Options:
    """What a session is made with. Thread counts: 0 leaves the choice to ONNX Runtime."""

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    parallel: bool = False
    memory_arena: bool = True
    memory_pattern: bool = True
    graph_level: str = "ORT_ENABLE_ALL"
    entries: dict[str, str] = field(default_factory=dict)
    providers: tuple[Provider, ...] = (_CPU,)


def parse(config: Mapping[str, Any], kind: str, device: int) -> Options:
    """The options of one instance of ``kind`` (``CPU`` or ``GPU``) on GPU ``device``, from the model's config as JSON.

    Raises ``ConfigError``. ``session.*`` parameters are ONNX Runtime's own session entries. Spinning is off unless
    ``session.intra_op.allow_spinning`` asks for it: an idle spinning pool takes cores from the decoders. The exact way to multiply
    bytes (``session.x64quantprecision``) is left out where the CPU's own is exact.
    """
    given = {key: str(value.get("string_value", "")) for key, value in config.get("parameters", {}).items()}
    entries = {key: given.pop(key) for key in sorted(given) if key.startswith("session.")}
    if _has_exact_products():
        entries.pop(_EXACT_PRODUCTS, None)
    numbers = {key: _number(key, given.pop(key, "0")) for key in ("intra_op_thread_count", "inter_op_thread_count")}
    execution_mode = given.pop("execution_mode", "0")
    if execution_mode not in ("0", "1"):
        raise ConfigError(f"execution_mode is 0 (sequential) or 1 (parallel), got {execution_mode!r}")
    memory_arena = _flag("enable_mem_arena", given.pop("enable_mem_arena", "1"))
    memory_pattern = _flag("enable_mem_pattern", given.pop("enable_mem_pattern", "1"))
    given.pop("FORCE_CPU_ONLY_INPUT_TENSORS", None)  # Triton's own: where inputs lie
    if given:
        raise ConfigError(f"parameters that this backend does not honour: {', '.join(sorted(given))}")
    if numbers["intra_op_thread_count"] != 1:
        entries.setdefault("session.intra_op.allow_spinning", "0")
    optimization = config.get("optimization") or {}
    return Options(
        numbers["intra_op_thread_count"],
        numbers["inter_op_thread_count"],
        execution_mode == "1",
        memory_arena,
        memory_pattern,
        _graph_level(optimization),
        entries,
        _providers(optimization, kind, device),
    )


def _graph_level(optimization: Mapping[str, Any]) -> str:
    level = int((optimization.get("graph") or {}).get("level", 0))
    if level not in _GRAPH_LEVELS:
        raise ConfigError(f"optimization.graph.level is one of {sorted(_GRAPH_LEVELS)}, got {level}")
    return _GRAPH_LEVELS[level]


def _providers(optimization: Mapping[str, Any], kind: str, device: int) -> tuple[Provider, ...]:
    accelerators = optimization.get("execution_accelerators") or {}
    for accelerator in accelerators.get("cpu_execution_accelerator") or []:
        raise ConfigError(f"cpu_execution_accelerator {accelerator.get('name')!r} is not supported; leave it out")
    asked = [
        (str(item.get("name")), item.get("parameters") or {})
        for item in accelerators.get("gpu_execution_accelerator") or []
    ]
    made = {name: _make(name)(parameters, device) for name, parameters in asked}  # a bad one is an error on a CPU too
    if kind != "GPU":
        return (_CPU,)
    cuda = made.pop("cuda", None) or _cuda({}, device)
    return (*made.values(), cuda, _CPU)


def _make(name: str) -> Callable[[Mapping[str, str], int], Provider]:
    if name not in ("tensorrt", "cuda"):
        raise ConfigError(f"gpu_execution_accelerator is 'tensorrt' or 'cuda', got {name!r}")
    return _tensorrt if name == "tensorrt" else _cuda


def _tensorrt(parameters: Mapping[str, str], device: int) -> Provider:
    options = {"device_id": str(device)}
    for key, value in parameters.items():
        if key == "precision_mode":
            if value not in _PRECISION:
                raise ConfigError(f"precision_mode is one of {sorted(_PRECISION)}, got {value!r}")
            options |= _PRECISION[value]
        elif key in _TENSORRT_NAMES or key.startswith("trt_"):
            options[_TENSORRT_NAMES.get(key, key)] = value
        else:
            raise ConfigError(f"tensorrt has no parameter {key!r}")
    return "TensorrtExecutionProvider", options


def _cuda(parameters: Mapping[str, str], device: int) -> Provider:
    # ONNX Runtime itself refuses names it does not know, when the session is made.
    return "CUDAExecutionProvider", {"device_id": str(device), **parameters}


def _number(key: str, text: str) -> int:
    if not text.isdigit():
        raise ConfigError(f"{key} is a count of threads, 0 for the default, got {text!r}")
    return int(text)


def _flag(key: str, text: str) -> bool:
    if text.lower() not in ("0", "1", "true", "false"):
        raise ConfigError(f"{key} is 0 or 1, got {text!r}")
    return text.lower() in ("1", "true")


def _has_exact_products(cpu: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bytes without a loss (VNNI). ONNX Runtime's other way, as exact, costs three times as much there."""
    return not _VNNI.isdisjoint(cpu.read_text().split())

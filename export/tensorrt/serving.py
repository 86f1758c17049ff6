"""The config by which NVIDIA's container serves engines: model_repository/NAME/configs/engine.pbtxt, for one architecture of GPU.

A model without an engine for it is served from its ONNX version on the GPU, as ``configs/cuda.pbtxt`` has it, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.accelerators import CONFIGS_FOLDER, accelerated
from export.errors import NoEngineError
from export.repository import text_of, write_if_changed
from export.spec import ModelSpec
from export.tensorrt.plan import Architecture
from export.tensorrt.version import newest

ENGINE_CONFIG = "engine.pbtxt"


@dataclass(frozen=True)
class Served:
    """What one model is served from. `why` says why there is no engine, empty where there is one."""

    name: str
    version: int
    file: str
    why: str = ""


def write_engine_config(repository: Path, spec: ModelSpec, architecture: Architecture) -> Served:
    """Write a model's config for this architecture; return what it serves."""
    served, message = _served(repository, spec, architecture)
    folder = repository / spec.name / CONFIGS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_if_changed(folder / ENGINE_CONFIG, text_of(message))
    return served


def _served(repository: Path, spec: ModelSpec, architecture: Architecture) -> tuple[Served, Any]:
    try:
        found = newest(repository, spec)
        if found is None:
            raise NoEngineError(
                f"{spec.name}: no version has engines; `export {spec.name} --target tensorrt` makes one"
            )
        version, planned = found
        return Served(spec.name, version, planned.engine_for(architecture)), planned.config(version)
    except NoEngineError as error:
        return Served(spec.name, spec.version, "model.onnx", str(error)), accelerated(spec, "cuda")

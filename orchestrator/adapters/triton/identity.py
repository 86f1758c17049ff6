"""Which file answers for a model: read from the model repository, where export wrote a manifest beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from orchestrator.adapters.triton.repository import Repository, split
from orchestrator.core.results import ModelVersion
from orchestrator.errors import InferenceUnavailable


def identify(repository: Path, name: str, version: str) -> ModelVersion:
    """Model, version and sha256 of the file that answers as Triton's ``name``: the manifest's, or that of the file itself where there
    is no manifest.

    Raises ``InferenceUnavailable`` when this repository does not hold that version.
    """
    model, _ = split(name)
    manifest = Repository(repository).manifest(model, int(version))
    if manifest is not None:
        return ModelVersion(model, version, str(manifest["digest"]))
    try:
        with (repository / model / version / "model.onnx").open("rb") as file:
            return ModelVersion(model, version, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise InferenceUnavailable(
            f"the model repository lacks {model} version {version}, which Triton serves"
        ) from error

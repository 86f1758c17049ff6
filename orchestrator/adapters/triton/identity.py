"""Which file answers for a model: read from the model repository, where export wrote a manifest beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from orchestrator.core.results import ModelVersion
from orchestrator.errors import InferenceUnavailable


def identify(repository: Path, model: str, version: str) -> ModelVersion:
    """Name, version and sha256 of ``model``'s file: the manifest's, or that of the file itself where there is no
    manifest.

    Raises ``InferenceUnavailable`` when this repository does not hold that version.
    """
    folder = repository / model / version
    try:
        return ModelVersion(model, version, str(json.loads((folder / "manifest.json").read_bytes())["digest"]))
    except FileNotFoundError:
        pass
    except (ValueError, KeyError) as error:
        raise InferenceUnavailable(f"the manifest of {model} version {version} cannot be read") from error
    try:
        with (folder / "model.onnx").open("rb") as file:
            return ModelVersion(model, version, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise InferenceUnavailable(
            f"the model repository lacks {model} version {version}, which Triton serves"
        ) from error

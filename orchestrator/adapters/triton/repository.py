"""The model repository as it lies on disk: models, their versions, configs and manifests.

Triton loads and unloads the versions of one model only together. So the version that the repository's own config names, the default,
is Triton's model ``NAME``, and each further version ``V`` is a Triton model of its own, ``NAME.V``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.errors import FilesRefused, NotFound, SetupError

CONFIG = "config.pbtxt"
GPU_CONFIG = "configs/cuda.pbtxt"
MANIFEST = "manifest.json"
_FURTHER = re.compile(r"(?P<model>.+)\.(?P<version>[1-9][0-9]*)")
_VERSION = re.compile(r"[1-9][0-9]*")


def further(model: str, version: int) -> str:
    """Triton's name for a version that is not the default."""
    return f"{model}.{version}"


def split(name: str) -> tuple[str, int | None]:
    """The model, and the further version, that Triton's ``name`` stands for; ``None``: the default."""
    match = _FURTHER.fullmatch(name)
    return (match["model"], int(match["version"])) if match else (name, None)


class Repository:
    """The models below ``root``, whose own names hold no dot. ``on_gpu``: a model's config is the one for a GPU, where it has one; that
    may name another version, as int8 is made for CPUs.
    """

    def __init__(self, root: Path, *, on_gpu: bool = False) -> None:
        self.root, self._on_gpu = root, on_gpu
        self._defaults: dict[str, int] = {}

    def models(self) -> Sequence[str]:
        """Every model that has a config, by name."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{CONFIG}"))

    def folder(self, model: str, version: int) -> Path:
        """Where the files of ``version`` lie."""
        return self.root / model / str(version)

    def versions(self, model: str) -> Sequence[int]:
        """The versions that are there, oldest first. Raises ``NotFound`` for a model that is not."""
        if not (self.root / model / CONFIG).is_file():
            raise NotFound(f"the model repository holds no model {model}", model=model)
        return sorted(int(path.name) for path in (self.root / model).iterdir() if _VERSION.fullmatch(path.name))

    def default(self, model: str) -> int:
        """The version that the repository's config names. It is read once: what an export or an editor changes there counts from the
        next start on, so that nothing but a rollout ever changes what is served. Raises ``NotFound``.
        """
        if model not in self._defaults:
            self._defaults[model] = self._default(model)
        return self._defaults[model]

    def _default(self, model: str) -> int:
        held = self.versions(model)
        policy = self.config(model).version_policy
        named = (
            [version for version in policy.specific.versions if version in held] if policy.specific.versions else held
        )
        if not named:
            raise NotFound(
                f"the model repository holds no version of {model}; run `reelsift models export`", model=model
            )
        return max(named)

    def versioned(self, name: str) -> tuple[str, int]:
        """The model and version that Triton's ``name`` stands for. Raises ``NotFound``."""
        model, version = split(name)
        return model, version or self.default(model)

    def config(self, model: str, version: int | None = None) -> model_config_pb2.ModelConfig:
        """The config of ``version``: its own, or else the model's. Raises ``SetupError`` for one that cannot be read."""
        folder = self.root / model
        choices = [folder / str(version) / CONFIG] * bool(version) + [folder / GPU_CONFIG] * self._on_gpu
        path = next((choice for choice in choices if choice.is_file()), folder / CONFIG)
        try:
            return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
        except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
            raise SetupError(f"the config of {model} cannot be read", model=model) from error

    def manifest(self, model: str, version: int) -> Mapping[str, Any] | None:
        """What export wrote beside the files; ``None`` where there is none. Raises ``FilesRefused`` for one that cannot be read."""
        try:
            found = json.loads((self.folder(model, version) / MANIFEST).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise FilesRefused(f"the manifest of {model} version {version} cannot be read", model=model) from error
        if not isinstance(found, dict) or not isinstance(found.get("digest"), str):
            raise FilesRefused(f"the manifest of {model} version {version} names no digest", model=model)
        return found

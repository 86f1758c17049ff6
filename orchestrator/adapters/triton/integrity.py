"""Whether the files of a version are those that were exported: checked before each load, so that no other file ever answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2

from orchestrator.adapters.triton.onnx_references import NotOnnx, references
from orchestrator.adapters.triton.repository import CONFIG, MANIFEST, Repository
from orchestrator.errors import FilesRefused

#: backend -> the model's file, where the config does not name it
_MODEL_FILES = {"python": "model.py", "tensorrt": "model.plan"}


def check(repository: Repository, model: str, version: int) -> None:
    """Raise ``FilesRefused``, naming the file, for

    - a file whose sha256 is not the manifest's, that is missing, or that the manifest does not list;
    - anything else in the folder, where the manifest lists its files (but a ``config.pbtxt``, which is the operator's to write);
    - an ONNX model that is cut short, or that keeps its weights anywhere but in the folder's listed files;
    - a config that names a file elsewhere.

    A manifest without ``files`` vouches for the model file alone, and none at all (a repository made by hand) for nothing: then the
    ONNX file must be whole, and keep to its folder.
    """
    folder = repository.folder(model, version)
    refuse = _Refusal(model, version)
    if not folder.is_dir():
        raise refuse("is not in the model repository")
    config = repository.config(model, version)
    manifest = repository.manifest(model, version)
    listed = _vouched(folder, config, manifest, refuse) if manifest is not None else None
    for name in _named(config):
        _beside(folder, name, refuse, "its config names")
    for file in sorted(folder.glob("*.onnx")):
        try:
            places = references(file)
        except (NotOnnx, OSError) as error:
            reason = str(error) if isinstance(error, NotOnnx) else "it cannot be read"
            raise refuse(f"cannot be served: {file.name}: {reason}") from error
        for place in sorted(places):
            _beside(folder, place, refuse, f"{file.name} keeps weights in")
            if listed is not None and place not in listed:
                raise refuse(
                    f"cannot be served: {file.name} keeps weights in {place}, which its manifest does not list"
                )


class _Refusal:
    def __init__(self, model: str, version: int) -> None:
        self._model, self._version = model, version

    def __call__(self, what: str) -> FilesRefused:
        return FilesRefused(f"{self._model} version {self._version} {what}", model=self._model, version=self._version)


def _vouched(
    folder: Path, config: model_config_pb2.ModelConfig, manifest: Mapping[str, Any], refuse: _Refusal
) -> Mapping[str, str]:
    """The listed files, all of which are as they were at export."""
    digest = str(manifest["digest"])
    files = manifest.get("files")
    if files is None:
        listed = {config.default_model_filename or _MODEL_FILES.get(config.backend, "model.onnx"): digest}
    elif isinstance(files, dict) and digest in files.values():
        listed = {str(name): str(value) for name, value in files.items()}
        for entry in sorted(folder.iterdir()):
            if entry.name not in (MANIFEST, CONFIG, *listed):
                raise refuse(f"cannot be served: its manifest does not list {entry.name}")
    else:
        raise refuse("cannot be served: its manifest does not say which file its digest is of")
    for name, expected in listed.items():
        if _sha256(_beside(folder, name, refuse, "its manifest lists")) != expected:
            raise refuse(f"cannot be served: {name} is not the file that was exported (its sha256 differs)")
    return listed


def _named(config: model_config_pb2.ModelConfig) -> list[str]:
    return [*filter(None, [config.default_model_filename]), *config.cc_model_filenames.values()]


def _beside(folder: Path, name: str, refuse: _Refusal, who: str) -> Path:
    """The plain file ``name`` of ``folder``."""
    path = folder / name
    if name in ("", ".", "..") or "/" in name or "\\" in name or path.is_symlink():
        raise refuse(f"cannot be served: {who} {name!r}, which leads out of its folder")
    if not path.is_file():
        raise refuse(f"cannot be served: {who} {name}, which is missing")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

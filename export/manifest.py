"""manifest.json: what a version folder holds, where it came from and how it was checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.fetch import sha256_of
from export.parity import Parity
from export.repository import CONFIG_FILE
from export.spec import TensorSpec, TextModelSpec
from export.variant import Variant

if TYPE_CHECKING:
    from export.accuracy import Accuracy

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.npz"
TOKENIZER_FILE = "tokenizer.json"
_TOOLS = ("onnx", "onnxruntime", "onnxslim", "numpy", "torch")


@dataclass(frozen=True)
class Manifest:
    """The part of a manifest that says what a version is, and whether its folder is current."""

    name: str
    version: int
    digest: str
    """SHA-256 of model.onnx."""
    recipe: str
    files: Mapping[str, str]
    """SHA-256 of every file of the folder but the manifest, by path in it."""
    precision: str
    target: str
    licence: str
    tolerances: Mapping[str, float]
    """How far answers may lie from golden.npz, by output; an output that is not named is not compared."""
    engines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of the target tensorrt: file, GPU and release of TensorRT, by architecture."""


def document(folder: Path) -> dict[str, Any] | None:
    """Return all of a version folder's manifest, None when it is missing or not one."""
    try:
        found = json.loads((folder / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def read(folder: Path) -> Manifest | None:
    """Return the manifest of a version folder, None when it is missing or not one."""
    data = document(folder) or {}
    try:
        return Manifest(
            data["name"],
            data["version"],
            data["digest"],
            data["recipe"],
            dict(data.get("files", {})),
            data.get("precision", "fp32"),
            data.get("target", "onnx"),
            data["licence"],
            dict(data.get("golden", {}).get("tolerances", {})),
            dict(data.get("engines", {})),
        )
    except (AttributeError, ValueError, KeyError, TypeError):
        return None


def strange(folder: Path, found: Manifest) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the files that the folder lacks, holds without a word of the manifest, and holds with other
    bytes. A config.pbtxt that the manifest does not list is the operator's, and no stranger.
    """
    now = digests(folder)
    missing = sorted(set(found.files) - set(now))
    foreign = sorted(set(now) - set(found.files) - {CONFIG_FILE})
    changed = sorted(name for name in set(found.files) & set(now) if found.files[name] != now[name])
    return missing, foreign, changed


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a version folder but its manifest, by path in it."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: sha256_of(path) for name, path in files.items() if name != MANIFEST_FILE}


def write(
    folder: Path,
    variant: Variant,
    version: int,
    parity: Parity,
    tolerances: Mapping[str, float],
    accuracy: Accuracy | None = None,
    engines: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write the manifest of the files that lie in the folder; it appears whole or not at all.

    parity: of the network at full precision with its framework. accuracy: of a lower precision with the full one.
    """
    spec, files = variant.spec, digests(folder)
    document = {
        "name": spec.name,
        "version": version,
        "precision": variant.precision,
        "target": variant.target,
        "description": spec.architecture,
        "digest": files[MODEL_FILE],
        "files": files,
        "recipe": variant.recipe,
        "licence": variant.licence,
        "sources": variant.sources,
        "tools": {tool: metadata.version(tool) for tool in _TOOLS},
        "parity": _parity(parity),
        **({"accuracy": asdict(accuracy)} if accuracy else {}),
        "golden": {"file": GOLDEN_FILE, "tolerances": dict(tolerances)},
        "max_batch_size": spec.max_batch_size,
        "inputs": [_tensor(t) for t in spec.inputs],
        "outputs": [_tensor(t) for t in spec.outputs],
        **({"tokenizer": files[TOKENIZER_FILE]} if isinstance(spec, TextModelSpec) else {}),
        **({"engines": engines} if engines else {}),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    staging = folder / (MANIFEST_FILE + ".new")
    staging.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(staging, folder / MANIFEST_FILE)


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "dims": list(tensor.dims)}


def _parity(parity: Parity) -> dict[str, Any]:
    """The headline is the output that came nearest to its tolerance; every output is listed below it."""
    return {
        "method": parity.method,
        "max_abs_error": parity.worst.max_abs_error,
        "tolerance": parity.worst.tolerance,
        "frames": parity.frames,
        "outputs": [asdict(o) for o in parity.outputs],
    }

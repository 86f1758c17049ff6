"""manifest.json: what a version folder holds, where it came from and how it was checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from export.fetch import sha256_of
from export.parity import Parity
from export.spec import TensorSpec, TextModelSpec
from export.variant import Variant

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
    engines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of the target tensorrt: file, GPU and release of TensorRT, by architecture."""


def read(folder: Path) -> Manifest | None:
    """Return the manifest of a version folder, None when it is missing or not one."""
    try:
        data = json.loads((folder / MANIFEST_FILE).read_bytes())
        return Manifest(
            data["name"],
            data["version"],
            data["digest"],
            data["recipe"],
            dict(data.get("files", {})),
            data.get("precision", "fp32"),
            data.get("target", "onnx"),
            data["licence"],
            dict(data.get("engines", {})),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a version folder but its manifest, by path in it."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: sha256_of(path) for name, path in files.items() if name != MANIFEST_FILE}


def write(
    folder: Path,
    variant: Variant,
    version: int,
    parity: Parity,
    engines: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write the manifest of the files that lie in the folder; it appears whole or not at all."""
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
        "golden": {"file": GOLDEN_FILE, "tolerances": {o.name: o.tolerance for o in spec.outputs}},
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

"""Nodes and weights of a TensorFlow.js graph model (model.json and its binary shards)."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import BuildError

_TYPES: dict[str, type[np.generic]] = {
    "float32": np.float32,
    "int32": np.int32,
    "float16": np.float16,
    "uint8": np.uint8,
    "uint16": np.uint16,
}


@dataclass(frozen=True)
class Node:
    """One TensorFlow operation. Inputs are tensor references ("name" or "name:1"), control inputs left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]

    def text(self, key: str, default: str = "") -> str:
        """Return a string attribute."""
        found = self.attributes.get(key)
        return _decoded(found["s"]) if found else default

    def integer(self, key: str, default: int = 0) -> int:
        """Return an integer attribute."""
        found = self.attributes.get(key)
        return int(found["i"]) if found else default

    def flag(self, key: str) -> bool:
        """Return a boolean attribute, False when absent."""
        found = self.attributes.get(key)
        return bool(found["b"]) if found else False

    def number(self, key: str, default: float) -> float:
        """Return a float attribute."""
        found = self.attributes.get(key)
        return float(found["f"]) if found else default

    def integers(self, key: str) -> list[int]:
        """Return a list of integers, empty when absent."""
        found = self.attributes.get(key)
        return [int(i) for i in found["list"].get("i") or []] if found else []

    def texts(self, key: str) -> list[str]:
        """Return a list of strings, empty when absent."""
        found = self.attributes.get(key)
        return [_decoded(s) for s in found["list"].get("s") or []] if found else []


@dataclass(frozen=True)
class GraphModel:
    """A loaded graph model."""

    nodes: dict[str, Node]
    weights: dict[str, NDArray[Any]]


def load(path: Path) -> GraphModel:
    """Read model.json and the shards next to it; BuildError when they do not fit together."""
    document = json.loads(path.read_bytes())
    weights: dict[str, NDArray[Any]] = {}
    for group in document["weightsManifest"]:
        if any(Path(shard).name != shard for shard in group["paths"]):
            raise BuildError(f"{path.name}: shards lie next to it, got {group['paths']}")
        raw = b"".join((path.parent / shard).read_bytes() for shard in group["paths"])
        offset = 0
        for entry in group["weights"]:
            values, offset = _weight(entry, raw, offset)
            weights[entry["name"]] = values
        if offset != len(raw):
            raise BuildError(f"{path.name}: weights end at byte {offset} of {len(raw)}")
    return GraphModel({n["name"]: _node(n) for n in document["modelTopology"]["node"]}, weights)


def _weight(entry: dict[str, Any], raw: bytes, offset: int) -> tuple[NDArray[Any], int]:
    """Read one tensor; quantised ones are value * scale + min, except float16, which is only stored smaller."""
    quantised = entry.get("quantization")
    stored = np.dtype(_TYPES[quantised["dtype"] if quantised else entry["dtype"]])
    count = int(np.prod(entry["shape"], dtype=np.int64))
    end = offset + count * stored.itemsize
    if end > len(raw):
        raise BuildError(f"weight {entry['name']!r} ends at byte {end}, the shards hold {len(raw)}")
    values = np.frombuffer(raw, stored, count, offset).astype(_TYPES[entry["dtype"]])
    if quantised and quantised["dtype"] != "float16":
        values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
    return values.reshape(entry["shape"]), end


def _node(entry: dict[str, Any]) -> Node:
    inputs = tuple(r for r in entry.get("input", []) if not r.startswith("^"))
    return Node(entry["name"], entry["op"], inputs, entry.get("attr", {}))


def _decoded(value: list[int] | str) -> str:
    """Strings are stored as lists of bytes or as base64, depending on the writer's age."""
    return (bytes(value) if isinstance(value, list) else base64.b64decode(value)).decode()

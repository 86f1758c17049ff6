"""The digest of everything of ours that decides what a version folder becomes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

from export.errors import BuildError
from export.spec import ModelSpec, Precision, Target

_SHARED = ("export.graph", "export.simplify", "export.importing", "export.golden")
_LOWERING = ("export.lowering", "export.network", "export.samples", "export.accuracy")
_OF_PRECISION: dict[Precision, tuple[str, ...]] = {
    "fp32": (),
    "fp16": (*_LOWERING, "export.fp16"),
    "int8": (*_LOWERING, "export.int8"),
}
_OF_TARGET: dict[Target, tuple[str, ...]] = {
    "onnx": (),
    "tensorrt": ("export.tensorrt.network", "export.tensorrt.plan", "export.tensorrt.sizes"),
}
_ELSEWHERE = {"agreement", "int8", "default"}
"""Fields of a spec that say nothing about its full precision."""


def recipe_digest(spec: ModelSpec, precision: Precision = "fp32", target: Target = "onnx") -> str:
    """Return the SHA-256 of the spec and of the text of the modules that build it; imports none of them."""
    fields = dataclasses.asdict(spec)
    if precision == "fp32":
        fields = {name: value for name, value in fields.items() if name not in _ELSEWHERE}
    else:
        del fields["default"]
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for module in sorted({spec.builder, *spec.recipe, *_SHARED, *_OF_PRECISION[precision], *_OF_TARGET[target]}):
        found = find_spec(module)
        if found is None or found.origin is None:
            raise BuildError(f"{spec.name}: no module {module!r}")
        digest.update(module.encode() + b"\0" + Path(found.origin).read_text(encoding="utf-8").encode() + b"\0")
    return digest.hexdigest()

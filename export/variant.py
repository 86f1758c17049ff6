"""One version that a model can have: a spec, at a precision, for a target, from the package's weights or a user's own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from export.errors import NotOffered
from export.recipe import recipe_digest
from export.spec import ModelSpec, Precision, Target
from export.weights import OwnWeights

FIRST_FURTHER = 101
"""The numbers below are the specs'. What a user makes is numbered from here on, so that it is in no future release's way."""


@dataclass(frozen=True)
class Variant:
    """What decides a version folder. Equal variants have equal recipes, and so the same folder."""

    spec: ModelSpec
    precision: Precision = "fp32"
    target: Target = "onnx"
    weights: OwnWeights | None = None

    def __post_init__(self) -> None:
        if self.precision == "int8" and self.spec.int8 is None:
            raise NotOffered(f"{self.spec.name} is not offered in int8; ops/performance.md says why")
        if self.precision == "int8" and self.target == "tensorrt":
            raise NotOffered(
                f"{self.spec.name}: int8 is for CPUs, whose unsigned bytes TensorRT does not take; fp16 is for GPUs"
            )

    @property
    def declared(self) -> int | None:
        """The version number that the spec gives it, None for a further one, which is numbered when it is first built."""
        if self.target != "onnx" or self.weights is not None:
            return None
        if self.precision == "int8" and self.spec.int8 is not None:
            return self.spec.int8.version
        return self.spec.version if self.precision == "fp32" else None

    @property
    def recipe(self) -> str:
        """SHA-256 of everything that decides the folder's content; see `export.recipe` for our part of it."""
        recipe = recipe_digest(self.spec, self.precision, self.target)
        if self == Variant(self.spec):
            return recipe
        own = self.weights.digests if self.weights else ()
        return hashlib.sha256(json.dumps([recipe, self.precision, self.target, own]).encode()).hexdigest()

    @property
    def licence(self) -> str:
        """SPDX expression of the version's weights."""
        return self.weights.licence if self.weights else self.spec.licence

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Where its bytes come from: packages, and the user's own files in the place of one's weights."""
        packages = [dataclasses.asdict(source) for source in self.spec.sources]
        if self.weights is None:
            return packages
        licence = self.weights.licence
        own = [{"registry": "user", "file": n, "sha256": d, "licence": licence} for n, d in self.weights.digests]
        return [*own, *packages]

    def __str__(self) -> str:
        parts = [self.precision, self.target, *(["own weights"] if self.weights else [])]
        return f"{self.spec.name} ({', '.join(parts)})"


def declared_by(spec: ModelSpec) -> tuple[Variant, ...]:
    """Return what a repository holds of a model that nobody asked anything special for."""
    return (Variant(spec), *([Variant(spec, spec.default)] if spec.default != "fp32" else []))

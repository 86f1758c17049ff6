"""The digest of everything of ours that decides what a version folder becomes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from export.errors import BuildError
from export.spec import ModelSpec

_SHARED = ("export.graph", "export.simplify", "export.importing", "export.golden")


def recipe_digest(spec: ModelSpec, further: Iterable[str] = ()) -> str:
    """Return the SHA-256 of the spec and of the text of the modules that build it, with `further` ones; imports none of them."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(spec), sort_keys=True).encode())
    for module in sorted({spec.builder, *spec.recipe, *_SHARED, *further}):
        found = find_spec(module)
        if found is None or found.origin is None:
            raise BuildError(f"{spec.name}: no module {module!r}")
        digest.update(module.encode() + b"\0" + Path(found.origin).read_text(encoding="utf-8").encode() + b"\0")
    return digest.hexdigest()

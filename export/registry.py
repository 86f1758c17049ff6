"""Every model that can be exported, in the order in which an analysis first needs them."""

from __future__ import annotations

from collections.abc import Iterable

from export.errors import UnknownModelError
from export.spec import ModelSpec
from export.specs import face_embedding, faces, labels, moderation, objects, shots, text, text_embedding

SPECS: tuple[ModelSpec, ...] = (
    shots.SPEC,
    labels.SPEC,
    objects.SPEC,
    faces.SPEC,
    face_embedding.SPEC,
    moderation.SPEC,
    text.DETECTION,
    text.ORIENTATION,
    text.RECOGNITION,
    text_embedding.SPEC,
)


def specs(names: Iterable[str] = ()) -> tuple[ModelSpec, ...]:
    """Return the specs of these models, of all when no name is given; UnknownModelError for a name without a spec."""
    by_name = {s.name: s for s in SPECS}
    wanted = list(names)
    unknown = [n for n in wanted if n not in by_name]
    if unknown:
        raise UnknownModelError(f"unknown models {unknown}; known: {sorted(by_name)}")
    return tuple(by_name[n] for n in wanted) if wanted else SPECS

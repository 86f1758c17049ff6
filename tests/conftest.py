"""What tests of every kind share: real media whose content is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.media.composite import build_composite
from tests.media.truth import Truth


@dataclass(frozen=True, slots=True)
class Film:
    """A video and everything that is known of it."""

    path: Path
    truth: Truth

    @property
    def nbytes(self) -> int:
        return self.path.stat().st_size

    @property
    def seconds(self) -> float:
        return self.truth.frames / self.truth.fps


@pytest.fixture(scope="session")
def composite(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """The composite of real clips: 602 frames, ten hard cuts, five burnt-in lines."""
    path = tmp_path_factory.mktemp("composite") / "composite.mp4"
    return Film(path, build_composite(path))

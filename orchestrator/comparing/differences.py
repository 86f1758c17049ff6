"""A difference between two versions, as something to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.results import Box


@dataclass(frozen=True, slots=True)
class Mark:
    """A box in the picture. ``alone``: the other version has none like it."""

    box: Box
    caption: str
    alone: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """A named score."""

    name: str
    score: float
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """What one version says: boxes in the picture, scores, lines of text, and of a strip of frames the first one of a new shot."""

    marks: tuple[Mark, ...] = ()
    bars: tuple[Bar, ...] = ()
    lines: tuple[str, ...] = ()
    cut: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two versions differ. ``size``: how much, larger first among those of one analyzer. ``strip``: the frames to show where one
    is not enough."""

    analyzer: str
    clip: str
    frame: int
    size: float
    words: str
    a: Side
    b: Side
    strip: tuple[int, ...] = ()

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames to show."""
        return self.strip or (self.frame,)


NEIGHBOURS = 50  # frames within which the same words about a clip most likely tell of the same thing


def telling(differences: Sequence[Difference], most: int) -> tuple[Difference, ...]:
    """The ``most`` to show, the largest first. One that a larger one nearby says already gives way to others, while there are any."""
    ranked = sorted(differences, key=lambda each: (-each.size, each.clip, each.frame))
    taken: list[Difference] = []
    echoes: list[Difference] = []
    for each in ranked:
        said = any(
            each.words == one.words and each.clip == one.clip and abs(each.frame - one.frame) <= NEIGHBOURS
            for one in taken
        )
        (echoes if said else taken).append(each)
    return tuple(sorted([*taken, *echoes][:most], key=ranked.index))

"""One self-contained HTML page of a comparison: no script, no request to anywhere. Every text is escaped by the template."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator import __version__
from orchestrator.analyzers.pictures import encode_jpeg, resize
from orchestrator.cli import describe
from orchestrator.cli.compare_runs import Version
from orchestrator.cli.compare_words import Comparison, change, number
from orchestrator.cli.page import ENVIRONMENT
from orchestrator.comparing.differences import Difference, Mark, Side, telling
from orchestrator.core.boxes import clamped
from orchestrator.pipeline.stills import Picture, Stills

QUALITY = 80
STRIP_WIDTH = 200  # pixels of one frame of a strip
LABEL_HEIGHT, LETTER_WIDTH = 18, 7.4  # pixels of a caption, in letters of 13 pixels


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture: JPEG as a data URI, and its size in pixels. ``new``: by version, whether a shot begins with it."""

    name: int
    data: str
    width: int
    height: int
    new: tuple[bool, bool] = (False, False)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A box in pixels of its picture, which is ``across`` wide, with a caption."""

    x: float
    y: float
    width: float
    height: float
    caption: str
    alone: bool
    across: int

    @property
    def label_x(self) -> float:
        """Left end of its caption: the box's own, or further left where it would leave the picture."""
        return max(0.0, min(self.x, self.across - self.label_width))

    @property
    def label_y(self) -> float:
        """Top of its caption: above the box, or inside where there is no room."""
        return self.y - LABEL_HEIGHT if self.y >= LABEL_HEIGHT else self.y

    @property
    def label_width(self) -> float:
        """Room for its caption."""
        return 10 + LETTER_WIDTH * len(self.caption)


@dataclass(frozen=True, slots=True)
class Half:
    """One version's half of an example."""

    version: Version
    side: Side
    boxes: tuple[Drawn, ...]
    letter: str


@dataclass(frozen=True, slots=True)
class Example:
    """A difference with its pictures: one, or a strip of several."""

    key: str
    difference: Difference
    at: str
    frames: tuple[Frame, ...]
    halves: tuple[Half, Half]


@dataclass(frozen=True, slots=True)
class Section:
    """The examples of one analyzer, and how many differences there are in all."""

    analyzer: str
    examples: tuple[Example, ...]
    of: int

    @property
    def has_boxes(self) -> bool:
        """Whether boxes are drawn."""
        return any(half.boxes for example in self.examples for half in example.halves)

    @property
    def has_bars(self) -> bool:
        """Whether a score is one version's alone."""
        return any(bar.alone for example in self.examples for half in example.halves for bar in half.side.bars)


def wanted(comparison: Comparison, examples: int) -> dict[str, set[int]]:
    """The frames that the page shows, by clip."""
    frames: dict[str, set[int]] = {}
    for found in comparison.findings:
        for difference in telling(found.differences, examples):
            frames.setdefault(difference.clip, set()).update(difference.frames)
    return frames


def render(comparison: Comparison, pictures: Mapping[str, Stills], examples: int) -> str:
    """The page, with at most so many ``examples`` of each analyzer. ``pictures``: the ``wanted`` ones."""
    return ENVIRONMENT.get_template("compare.html.j2").render(
        comparison=comparison,
        sections=[
            Section(
                found.analyzer,
                tuple(
                    _example(f"{found.analyzer}-{place}", each, comparison.versions, pictures[each.clip])
                    for place, each in enumerate(telling(found.differences, examples))
                ),
                len(found.differences),
            )
            for found in comparison.findings
        ],
        change=change,
        number=number,
        counted=describe.counted,
        short=describe.short,
        version=__version__,
    )


def _example(key: str, difference: Difference, versions: Sequence[Version], stills: Stills) -> Example:
    cuts = (difference.a.cut, difference.b.cut)
    frames = tuple(
        _frame(name, stills.pictures[name], bool(difference.strip), (name == cuts[0], name == cuts[1]))
        for name in difference.frames
        if name in stills.pictures  # one that is damaged has none
    )
    size = (frames[0].width, frames[0].height) if frames else (1, 1)
    halves = (
        Half(versions[0], difference.a, _boxes(difference.a.marks, *size), "A"),
        Half(versions[1], difference.b, _boxes(difference.b.marks, *size), "B"),
    )
    at = describe.clock(stills.offset_ns(difference.frame))
    return Example(key, difference, at, frames, halves)


def _frame(name: int, picture: Picture, small: bool, new: tuple[bool, bool]) -> Frame:
    height, width = picture.shape[:2]
    if small:
        picture = resize(picture, STRIP_WIDTH, max(1, round(height * STRIP_WIDTH / width)))
        height, width = picture.shape[:2]
    data = base64.b64encode(encode_jpeg(picture, QUALITY)).decode()
    return Frame(name, f"data:image/jpeg;base64,{data}", width, height, new)


def _boxes(marks: Sequence[Mark], width: int, height: int) -> tuple[Drawn, ...]:
    drawn = []
    for mark in marks:
        x0, y0, x1, y1 = clamped(mark.box)
        drawn.append(
            Drawn(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height, mark.caption, mark.alone, width)
        )
    return tuple(drawn)

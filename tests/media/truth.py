"""What is known of a video that the tests built: the ground that analyses are compared with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Frames ``[start, end)``."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a span holds at least one frame, got [{self.start}, {self.end})")

    def overlaps(self, other: Span) -> bool:
        """Whether a frame lies in both."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Caption:
    """A burnt-in line: its text, the frames that show it, and its box in pixels ``(x0, y0, x1, y1)``,
    half-open."""

    text: str
    span: Span
    box: PixelBox


@dataclass(frozen=True, slots=True)
class Truth:
    """A video and everything known about it.

    ``cuts``: index of the first frame of each new shot (never 0). ``dissolves``: the frames that mix two
    shots. ``persons``, ``cars``, ``bicycles``, ``faces``: spans in which at least one is clearly visible in
    every frame; elsewhere nothing is promised. ``no_faces``: spans without any face.
    """

    width: int
    height: int
    fps: int
    frames: int
    cuts: tuple[int, ...]
    dissolves: tuple[Span, ...] = ()
    captions: tuple[Caption, ...] = ()
    persons: tuple[Span, ...] = ()
    cars: tuple[Span, ...] = ()
    bicycles: tuple[Span, ...] = ()
    faces: tuple[Span, ...] = ()
    no_faces: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        if list(self.cuts) != sorted(set(self.cuts)) or not all(0 < cut < self.frames for cut in self.cuts):
            raise ValueError(f"cuts must rise within (0, {self.frames}), got {self.cuts}")
        for span in (*self.spans, *(caption.span for caption in self.captions)):
            if span.end > self.frames:
                raise ValueError(f"{span} lies outside of {self.frames} frames")

    @property
    def spans(self) -> tuple[Span, ...]:
        """Every span except the captions'."""
        return (*self.dissolves, *self.persons, *self.cars, *self.bicycles, *self.faces, *self.no_faces)

    @property
    def shots(self) -> tuple[Span, ...]:
        """The frames between cuts; a dissolve does not end a shot here."""
        edges = (0, *self.cuts, self.frames)
        return tuple(Span(start, end) for start, end in pairwise(edges))

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Truth:
        """Read what ``write`` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        for name in ("dissolves", "persons", "cars", "bicycles", "faces", "no_faces"):
            data[name] = tuple(Span(**span) for span in data[name])
        data["cuts"] = tuple(data["cuts"])
        data["captions"] = tuple(
            Caption(item["text"], Span(**item["span"]), tuple(item["box"])) for item in data["captions"]
        )
        return cls(**data)

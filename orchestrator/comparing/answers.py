"""What a version answered about one clip, in frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator.core.results import Box


class Span(NamedTuple):
    """Frames ``[start, end)``."""

    start: int
    end: int

    def holds(self, frame: int) -> bool:
        """Whether ``frame`` is one of them."""
        return self.start <= frame < self.end

    def covers(self, other: Span) -> bool:
        """Whether every frame of ``other`` is one of them."""
        return self.start <= other.start and other.end <= self.end

    def overlaps(self, other: Span) -> bool:
        """Whether a frame lies in both."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Cut:
    """The first frame of a new shot."""

    frame: int
    score: float


@dataclass(frozen=True, slots=True)
class Detection:
    """Something with a name (an object's class, ``face``) at a place in a frame."""

    frame: int
    label: str
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, from its first to its last sampled frame (both included) within a segment."""

    text: str
    first: int
    last: int
    box: Box
    score: float

    @property
    def span(self) -> Span:
        """The frames from the first to the last."""
        return Span(self.first, self.last + 1)


@dataclass(frozen=True, slots=True)
class Face:
    """A face at its best sighting, and its vector (unit length)."""

    seen: Detection
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Unsafe:
    """The highest unsafe score, and its frame."""

    score: float
    frame: int


@dataclass(frozen=True, slots=True)
class SegmentAnswer:
    """One segment; what no analyzer spoke of is ``None``. ``ranking``: classes of the whole picture, the best first. ``frame`` stands for
    the segment where an answer names none."""

    span: Span
    frame: int
    starts_shot: Cut | None = None
    ranking: tuple[tuple[str, float], ...] | None = None
    objects: tuple[Detection, ...] | None = None
    lines: tuple[Line, ...] | None = None
    faces: tuple[Face, ...] | None = None
    most_faces: int = 0
    unsafe: Unsafe | None = None
    vector: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything about one clip, segment after segment. ``sampled``: the frames that the object detector was shown, as far as that is
    known."""

    clip: str
    segments: tuple[SegmentAnswer, ...]
    analyzers: frozenset[str] = frozenset()
    sampled: tuple[int, ...] = field(default=(), repr=False)

    @property
    def frames(self) -> int:
        """Frames of the clip."""
        return self.segments[-1].span.end if self.segments else 0

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """First frames of shots; the clip's own first frame is none."""
        found = (segment.starts_shot for segment in self.segments)
        return tuple(cut for cut in found if cut is not None and cut.frame > 0)

    @property
    def objects(self) -> tuple[Detection, ...]:
        """All detections."""
        return tuple(each for segment in self.segments for each in segment.objects or ())

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines."""
        return tuple(each for segment in self.segments for each in segment.lines or ())


@dataclass(frozen=True, slots=True)
class Both:
    """What two versions answered about one clip."""

    a: Answer
    b: Answer

    @property
    def clip(self) -> str:
        """Its name."""
        return self.a.clip

    @property
    def segments(self) -> tuple[tuple[SegmentAnswer, SegmentAnswer], ...]:
        """The segments that both versions have, in pairs: all of them, unless the versions cut the clip differently."""
        others = {segment.span: segment for segment in self.b.segments}
        return tuple((one, others[one.span]) for one in self.a.segments if one.span in others)

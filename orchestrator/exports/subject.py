"""What every format needs of an analysis: its media's clock, the kinds of its annotations, and tame text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath
from typing import Any

from orchestrator.core.jobs import AnalysisRecord, SourceKind
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import (
    Annotation,
    Faces,
    LabelScore,
    Moderation,
    ObjectTrack,
    Segment,
    Shot,
    Similarity,
    Started,
    TextLine,
)
from orchestrator.core.timeline import pts_to_ns

KINDS = {
    Shot: "shot",
    LabelScore: "labels",
    ObjectTrack: "objects",
    TextLine: "text",
    Faces: "faces",
    Moderation: "moderation",
    Similarity: "similarity",
}
_MAYBE_EMPTY = frozenset({"labels", "objects", "text"})
_BREAKS = frozenset({"Cc", "Zl", "Zp"})  # controls, and the separators of lines and paragraphs


@dataclass(frozen=True, slots=True)
class Subject:
    """An analysis and its media. Offsets count from the media's first frame and are rounded down."""

    record: AnalysisRecord
    started: Started

    @property
    def media(self) -> MediaInfo:
        """What was analysed."""
        return self.started.media

    @property
    def name(self) -> str:
        """What the media is called: the name of its file without folders; of an upload, the analysis' id."""
        source = self.record.spec.source
        name = PurePath(source.name).name if source.kind is SourceKind.PATH else ""
        return one_line(name) or self.record.id

    def seconds(self, pts: int) -> Fraction:
        """Offset in seconds, exact."""
        return (pts - self.media.start_pts) * self.media.time_base

    def ns(self, pts: int) -> int:
        """Offset in nanoseconds."""
        return pts_to_ns(pts - self.media.start_pts, self.media.time_base)

    def ms(self, pts: int) -> int:
        """Offset in milliseconds.

        Rounded down, a boundary never lies after the frame that it precedes: as long as frames are a millisecond or
        more apart, each one falls into the interval that holds it.
        """
        return self.ns(pts) // 1_000_000


def kind_of(annotation: Annotation) -> str | None:
    """The kind of an annotation, by its name in the API; ``None`` for an empty answer of an unknown analyzer."""
    value = annotation.value
    if not isinstance(value, tuple):
        return KINDS[type(value)]
    if value:
        return KINDS[type(value[0])]
    return annotation.analyzer if annotation.analyzer in _MAYBE_EMPTY else None


def values(segment: Segment, kind: str) -> Iterator[Any]:
    """The values of one kind in a segment, one per annotation."""
    return (annotation.value for annotation in segment.annotations if kind_of(annotation) == kind)


def items(segment: Segment, kind: str) -> list[Any]:
    """The items of all values of one kind (labels, objects or text) in a segment."""
    return [item for value in values(segment, kind) for item in value]


def shot_of(segment: Segment) -> Shot | None:
    """The shot that a segment belongs to, where one was looked for."""
    return next(values(segment, "shot"), None)


def one_line(text: str) -> str:
    """``text`` with spaces for control characters and line breaks, and none around it."""
    return "".join(" " if unicodedata.category(each) in _BREAKS else each for each in text).strip()


def clock(ms: int, mark: str) -> str:
    """``ms`` as HH:MM:SS, ``mark`` and three digits; two digits or more of hours."""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{ms:03}"

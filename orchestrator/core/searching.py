"""What a search asks and answers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from orchestrator.core.timeline import Interval


class MatchKind(StrEnum):
    """Which part of a segment matched."""

    LABEL = "LABEL"
    OBJECT = "OBJECT"
    TEXT = "TEXT"
    MEANING = "MEANING"
    LOOK = "LOOK"


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A segment of an analysis."""

    analysis_id: str
    index: int


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """Which segments count; empty fields do not restrict. Durations in nanoseconds, scores 0..1."""

    analysis_ids: tuple[str, ...] = ()
    tenant: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    classes: tuple[str, ...] = ()
    min_score: float = 0.0
    created_after: datetime | None = None
    created_before: datetime | None = None
    min_moderation: float | None = None
    max_moderation: float | None = None
    has_face: bool | None = None
    min_duration_ns: int | None = None
    max_duration_ns: int | None = None


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """``text`` to find by words and meaning, or a segment to be ``like``; neither: everything that passes the filter, newest first."""

    text: str = ""
    like: SegmentRef | None = None
    filter: SearchFilter = field(default_factory=SearchFilter)


@dataclass(frozen=True, slots=True)
class Match:
    """Why a segment was found: what matched (empty for meaning and look), and how well (0..1)."""

    kind: MatchKind
    matched: str
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A segment that was found; ``start_ns`` and ``end_ns`` count from the media's first frame, pts in ``time_base`` seconds."""

    segment: SegmentRef
    interval: Interval
    start_ns: int
    end_ns: int
    time_base: Fraction
    score: float
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Hits, best first; ``next_token`` is empty on the last page."""

    hits: tuple[Hit, ...]
    next_token: str = ""

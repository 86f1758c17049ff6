"""What an analysis answers: annotations, segments, and the events that carry them.

Boxes are ``(x0, y0, x1, y1)`` normalised to 0..1 of the displayed picture. Scores are 0..1. Times are pts and frame
indices of the source.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.core.media import Ledger, MediaInfo
from orchestrator.core.timeline import Interval

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model as it answered: its capability name, version, and the digest (sha256) of its file."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class At:
    """A frame of the source."""

    frame: int
    pts: int


# --- values: one per kind of annotation ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shot:
    """How the shot that this segment belongs to was found. ``score`` is that of the cut at the segment's start; 1.0
    at the media's start, 0.0 where a
    long shot was split."""

    shot_index: int
    starts_shot: bool
    score: float


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A class of the whole picture: mean and best score over the sampled frames (a frame that does not rank it counts
    as 0).
    """

    label: str
    score: float
    best_score: float
    best: At


@dataclass(frozen=True, slots=True)
class TrackPoint:
    """An object in one sampled frame."""

    at: At
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class ObjectTrack:
    """One object followed through a segment. ``track_id`` is unique within the analysis and goes on across segments."""

    track_id: int
    label: str
    score: float
    points: tuple[TrackPoint, ...]


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of on-screen text, from its first to its last sampled frame inside the segment; ``box`` and ``score``
    are of the best reading.
    """

    text: str
    score: float
    box: Box
    first: At
    last: At
    readings: int


@dataclass(frozen=True, slots=True)
class FaceSighting:
    """One face (grouped by likeness within the segment): its best sighting and its vector (unit length)."""

    score: float
    box: Box
    at: At
    sightings: int
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Faces:
    """Distinct faces of a segment, and the largest number seen in one frame."""

    faces: tuple[FaceSighting, ...]
    most_at_once: int


@dataclass(frozen=True, slots=True)
class Moderation:
    """The highest score of the unsafe class, and where."""

    label: str
    max_score: float
    mean_score: float
    at: At


@dataclass(frozen=True, slots=True)
class Similarity:
    """Mean image vector of the segment, unit length."""

    vector: tuple[float, ...]


Value = Shot | tuple[LabelScore, ...] | tuple[ObjectTrack, ...] | tuple[TextLine, ...] | Faces | Moderation | Similarity


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one analyzer says of one segment, and which models said it. ``frames_analyzed`` counts its sampled frames,
    ``frames_reused`` those among them that shared a near-duplicate's answer."""

    analyzer: str
    models: tuple[ModelVersion, ...]
    value: Value
    frames_analyzed: int
    frames_reused: int = 0


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A JPEG of one frame."""

    jpeg: bytes = field(repr=False)
    at: At
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A closed segment. ``index`` counts from 0; intervals are contiguous."""

    index: int
    interval: Interval
    annotations: tuple[Annotation, ...]
    thumbnail: Thumbnail | None
    final: bool  # the last segment of its analysis


# --- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The media was opened. The answers of ``reused`` are taken over from the analysis ``reused_from``. ``decoder``: what decodes it,
    ``cpu`` or ``nvdec``; empty where nothing needs decoding.
    """

    media: MediaInfo
    profile: str
    analyzers: tuple[str, ...]
    reused: tuple[str, ...] = ()
    reused_from: str = ""
    decoder: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the analysis is; not part of its log. ``media_ns``: every analyzer has answered up to there, counted from the first frame."""

    media_ns: int
    elapsed_ns: int
    ledger: Ledger
    eta_ns: int | None

    @property
    def realtime_factor(self) -> float:
        """Processing seconds per media second (0.0 before anything is done)."""
        return self.elapsed_ns / self.media_ns if self.media_ns else 0.0


@dataclass(frozen=True, slots=True)
class SegmentClosed:
    """A segment is complete."""

    segment: Segment


@dataclass(frozen=True, slots=True)
class Finished:
    """The analysis is complete; ``partial`` when the media broke (``first_bad_pts`` says where, ``fault`` why).

    ``failed_analyzers``: names and reasons of those that gave up, whose annotations are missing from there on.
    """

    segments: int
    media_ns: int
    elapsed_ns: int
    ledger: Ledger
    partial: bool
    first_bad_pts: int | None
    fault: str | None
    failed_analyzers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The analysis ended with a typed error (see ``errors.py``)."""

    reason: str
    grpc_code: str
    message: str
    retryable: bool
    detail: tuple[tuple[str, str], ...] = ()


LoggedEvent = Started | SegmentClosed | Finished | Failed
AnalysisEvent = LoggedEvent | Progress
FINAL_EVENTS = (Finished, Failed)

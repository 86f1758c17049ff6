"""Values to put into an analysis store, and the shortest way of doing so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from orchestrator.core.jobs import AnalysisSpec, AnalysisState, Checkpoint, Lease, SourceKind, SourceRef
from orchestrator.core.media import Ledger, LedgerMark, MediaInfo
from orchestrator.core.results import (
    Annotation,
    At,
    Failed,
    Finished,
    LabelScore,
    ModelVersion,
    Segment,
    Shot,
    Similarity,
    Started,
    Thumbnail,
)
from orchestrator.core.timeline import Interval
from orchestrator.ports import AnalysisStore

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
PATH = AnalysisSpec(SourceRef(SourceKind.PATH, "clip.mp4", 1000, "stamp"))
UPLOAD = AnalysisSpec(SourceRef(SourceKind.UPLOAD, "upload", None))
MEDIA = MediaInfo(
    container="mp4",
    codec="h264",
    width=1280,
    height=720,
    rotation=0,
    time_base=Fraction(1, 12800),
    start_pts=-512,
    duration_ns=None,
    average_rate=Fraction(24000, 1001),
)
STARTED = Started(MEDIA, "default", ("shots", "labels"), ("labels",), "earlier")
FAILED = Failed("MEDIA_UNREADABLE", "INVALID_ARGUMENT", "no frame", False, (("frame", "3"),))
FINISHED = Finished(
    segments=0, media_ns=9, elapsed_ns=9, ledger=Ledger(), partial=False, first_bad_pts=None, fault=None
)
LABELS = ModelVersion("labels", "1", "a" * 64)
SHOTS = ModelVersion("shots", "2", "b" * 64)
JPEG = b"\xff\xd8" + bytes(range(256)) * 8


def spec(request_id: str = "", **changes: object) -> AnalysisSpec:
    """A spec of a file."""
    return replace(PATH, request_id=request_id, **changes)  # type: ignore[arg-type]


def segment(index: int, *, final: bool = False, mark: str = "") -> Segment:
    """Segment ``index``, ten frames long; ``mark`` tells one from another."""
    return Segment(
        index,
        Interval(index * 10, index * 10 + 10, index * 5120 - 512, index * 5120 + 4608),
        (
            Annotation("shots", (SHOTS,), Shot(index, True, 0.1 + index), 10),
            Annotation("labels", (LABELS, SHOTS), (LabelScore(f"dog{mark}", 1 / 3, 0.9, At(3, 7)),), 5, 2),
            Annotation("similarity", (LABELS,), Similarity((0.5, -0.25, 1 / 3)), 5),
        ),
        Thumbnail(JPEG, At(index * 10 + 4, index * 5120), 320, 180),
        final,
    )


def checkpoint(index: int, *, forget: bool = True, memo: Mapping[str, object] | None = None) -> Checkpoint:
    """The checkpoint behind segment ``index``."""
    state = {"segmenter": {"open": [1.5, None, "x"], "at": index}, "text": []}
    mark = LedgerMark(index * 10 + 10, Ledger(source=index * 10 + 10, decoded=5, expected=5), None)
    return Checkpoint(index + 1, index * 10 + 10, state, mark, memo if memo is not None else {"seen": index}, forget)


async def running(store: AnalysisStore, name: str = "one", asked: AnalysisSpec = PATH, segments: int = 0) -> Lease:
    """A new analysis, claimed and begun, with so many segments."""
    await store.create(name, asked, limit=1000)
    lease = await store.claim(name, "runner")
    assert lease is not None
    await store.begin(lease, STARTED, None)
    for index in range(segments):
        await store.commit_segment(lease, segment(index), checkpoint(index))
    return lease


async def ended(store: AnalysisStore, name: str = "one", asked: AnalysisSpec = PATH, segments: int = 1) -> None:
    """A new analysis that succeeded."""
    lease = await running(store, name, asked, segments)
    await store.end(lease, replace(FINISHED, segments=segments), AnalysisState.SUCCEEDED)


class Clock:
    """Goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = DAWN

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

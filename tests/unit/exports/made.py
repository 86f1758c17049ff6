"""Analyses to export: made up by Hypothesis, and the one of the composite that the acceptance tests keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from orchestrator.core.jobs import AnalysisRecord, AnalysisSpec, AnalysisState, ReusePlan, SourceKind, SourceRef
from orchestrator.core.media import Ledger, MediaInfo
from orchestrator.core.results import (
    Annotation,
    At,
    Faces,
    FaceSighting,
    Finished,
    LabelScore,
    ModelVersion,
    Moderation,
    ObjectTrack,
    Segment,
    Shot,
    Similarity,
    Started,
    TextLine,
    Thumbnail,
    TrackPoint,
    Value,
)
from orchestrator.core.timeline import FrameTable, Interval
from orchestrator.exports import export

GOLDEN = Path(__file__).parents[2] / "acceptance" / "golden" / "composite.json"
NASTY = (
    "", " ", "=cmd()|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "a,b;c\t\"d\"", "two\nlines\r\nand\n\nmore", "1", "\n2\n",
    "00:00:01.000 --> 00:00:02.000", "-->", "--->", "<b>bold</b> & <i", "{\\an8}top", "C:\\New\\host", "&amp;", "\x00\x1b[31m",
    "שלום עולם", "\u202eevil\u202c", "👩\u200d👩\u200d👧 🏳️\u200d🌈", "a\u2028b\u2029c", "\ufeffbom", "WEBVTT", "NOTE x", "'quoted'",
)  # fmt: skip

texts = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
scores = st.floats(0, 1)
vectors = st.lists(st.floats(-1, 1, width=32), max_size=3).map(tuple)
boxes = st.tuples(scores, scores, scores, scores).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
CLOCKS = (  # time base, frames per second, whether pts are rounded down to the clock
    (Fraction(1, 12800), Fraction(25)),
    (Fraction(1, 90000), Fraction(30000, 1001)),
    (Fraction(1001, 24000), Fraction(24000, 1001)),
    (Fraction(1, 1000), Fraction(30000, 1001)),
    (Fraction(1, 1000), Fraction(60)),
)


@dataclass(frozen=True)
class Made:
    """An analysis and its segments."""

    record: AnalysisRecord
    segments: tuple[Segment, ...]

    @property
    def media(self) -> MediaInfo:
        assert self.record.media is not None
        return self.record.media

    def file(self, file_format: str) -> bytes:
        """The exported file."""
        return b"".join(export(self.record, iter(self.segments), file_format))

    def seconds(self, pts: int) -> Fraction:
        """Exact offset from the first frame."""
        return (pts - self.media.start_pts) * self.media.time_base

    def each(self, kind: type) -> list[tuple[Segment, Any]]:
        """Every value or item of a kind, with its segment."""
        found = []
        for segment in self.segments:
            for annotation in segment.annotations:
                value = annotation.value
                some = value if isinstance(value, tuple) else (value,)
                found += [(segment, item) for item in some if isinstance(item, kind)]
        return found


def record(media: MediaInfo | None, segments: Sequence[Segment] = (), **changes: Any) -> AnalysisRecord:
    """A succeeded analysis of an upload."""
    now = datetime(2026, 11, 1, 12, tzinfo=UTC)
    media_ns = 4_000_000_000
    facts: dict[str, Any] = {
        "id": "a-1",
        "spec": AnalysisSpec(SourceRef(SourceKind.UPLOAD, "u-1"), analyzers=("shots", "text"), tenant="t"),
        "state": AnalysisState.SUCCEEDED,
        "create_time": now,
        "segments": len(segments),
        "last_sequence": len(segments) + 2,
        "started": media and Started(media, "default", ("shots", "text"), ("shots",), "a-0"),
        "reuse": ReusePlan("a-0", ("shots",)),
        "result": Finished(
            len(segments), media_ns, 1_000_000_000, Ledger(9, 8, 7, 1, 0, 1, 2, 3), True, 7, "LOST", (("text", "why"),)
        ),
    }
    return AnalysisRecord(**(facts | changes))


def media(time_base: Fraction = Fraction(1, 12800), rate: Fraction | None = Fraction(25), **changes: Any) -> MediaInfo:
    """A 640x360 video."""
    facts: dict[str, Any] = {
        "container": "mov",
        "codec": "h264",
        "width": 640,
        "height": 360,
        "rotation": 0,
        "time_base": time_base,
        "start_pts": 0,
        "duration_ns": None,
        "average_rate": rate,
    }
    return MediaInfo(**(facts | changes))


@st.composite
def _annotations(draw: st.DrawFn, segment: Interval, pts: Sequence[int]) -> tuple[Annotation, ...]:
    ats = st.integers(segment.start_frame, segment.end_frame - 1).map(lambda frame: At(frame, pts[frame]))
    some = st.lists(ats, min_size=1, max_size=3, unique_by=lambda at: at.frame).map(sorted_ats)

    @st.composite
    def track(draw: st.DrawFn) -> ObjectTrack:
        points = tuple(TrackPoint(at, draw(boxes), draw(scores)) for at in draw(some))
        return ObjectTrack(draw(st.integers(0, 2**40)), draw(texts), draw(scores), points)

    @st.composite
    def line(draw: st.DrawFn) -> TextLine:
        seen = draw(some)
        return TextLine(draw(texts), draw(scores), draw(boxes), seen[0], seen[-1], len(seen))

    face = st.builds(FaceSighting, scores, boxes, ats, st.integers(1, 9), vectors)
    kinds: dict[str, st.SearchStrategy[Value]] = {
        "shots": st.builds(Shot, st.just(segment.start_frame), st.just(True), scores),
        "labels": st.lists(st.builds(LabelScore, texts, scores, scores, ats), max_size=2).map(tuple),
        "objects": st.lists(track(), max_size=2).map(tuple),
        "text": st.lists(line(), max_size=2).map(tuple),
        "faces": st.builds(Faces, st.lists(face, max_size=2).map(tuple), st.integers(0, 3)),
        "moderation": st.builds(Moderation, texts, scores, scores, ats),
        "similarity": st.builds(Similarity, vectors),
        "somebody's": st.just(()),
    }
    model = st.builds(ModelVersion, texts, st.just("1"), st.just("ab" * 32))
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), unique=True))
    return tuple(
        Annotation(
            name,
            draw(st.lists(model, max_size=2).map(tuple)),
            draw(kinds[name]),
            draw(st.integers(1, max(1, segment.frames))),
            draw(st.integers(0, 3)),
        )
        for name in chosen
    )


def sorted_ats(ats: list[At]) -> list[At]:
    """In order of time."""
    return sorted(ats, key=lambda at: at.frame)


@st.composite
def analyses(draw: st.DrawFn, *, steady: bool = False) -> Made:
    """An analysis with up to four segments; ``steady``: of constant frame rate."""
    time_base, rate = draw(st.sampled_from(CLOCKS))
    start = draw(st.sampled_from([0, 1, -512, 90_000, 2**40]))
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    count = sum(lengths)
    if steady or draw(st.booleans()):
        offsets = [int(frame / rate / time_base) for frame in range(count + 1)]
    else:
        steps = draw(st.lists(st.integers(1, 5000), min_size=count, max_size=count))
        offsets = [sum(steps[:frame]) for frame in range(count + 1)]
    table = FrameTable()
    table.extend(start + offset for offset in offsets[:-1])
    table.finish(start + offsets[-1])
    segments, at = [], 0
    for index, length in enumerate(lengths):
        interval = table.interval(at, at + length)
        annotations = draw(_annotations(interval, table.pts))
        thumbnail = draw(st.none() | st.just(Thumbnail(b"\xff\xd8\x00", At(at, table.pts[at]), 32, 18)))
        segments.append(Segment(index, interval, annotations, thumbnail, index == len(lengths) - 1))
        at += length
    facts = media(time_base, rate, start_pts=start)
    return Made(record(facts, segments), tuple(segments))


def composite() -> Made:
    """What the service answers for the composite video, as the acceptance tests know it; places in the picture, which
    they leave out, are made up."""
    golden = json.loads(GOLDEN.read_text())
    segments = []
    for index, told in enumerate(golden["segments"]):
        interval = Interval(*told["frames"], *told["pts"])
        first = At(interval.start_frame, interval.start_pts)
        last = At(interval.end_frame - 1, interval.end_pts - 512)
        box = (0.25, 0.5, 0.75, 1.0)
        label, frame, score = told["moderation"]
        values: dict[str, Value] = {
            "shots": Shot(index, True, told["cut"]),
            "labels": tuple(LabelScore(name, score, score, first) for name, score in told["labels"].items()),
            "objects": tuple(
                ObjectTrack(100 * index + number, name, score, (TrackPoint(first, box, score), TrackPoint(last, box, score)))
                for number, (name, _, score) in enumerate(told["tracks"])
            ),
            "text": tuple(TextLine(text, score, box, first, last, seen) for text, seen, score in told["text"]),
            "faces": Faces(tuple(FaceSighting(score, box, first, seen, (1.0,)) for seen, score in told["faces"]), 1),
            "moderation": Moderation(label, score, score, At(frame, frame * 512)),
        }  # fmt: skip
        annotations = tuple(Annotation(name, (), value, told["analyzed"][name]) for name, value in values.items())
        segments.append(Segment(index, interval, annotations, None, index == len(golden["segments"]) - 1))
    facts = media(width=1280, height=720)
    spec = AnalysisSpec(SourceRef(SourceKind.PATH, "/media/films/composite.mp4"))
    return Made(record(facts, segments, spec=spec), tuple(segments))

"""A small made-up analysis, as the messages a client receives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from orchestrator.api import messages as pb
from tests.support.own_logging import own_logging

Responses = list[pb.AnalyzeResponse]


def position(frame: int) -> pb.FramePosition:
    return pb.FramePosition(frame=frame, pts=frame, offset_ns=frame * 40_000_000)


def box(left: float, top: float, right: float, bottom: float) -> pb.Box:
    return pb.Box(left=left, top=top, right=right, bottom=bottom)


def annotations(text: str, label: str) -> list[pb.Annotation]:
    models = [pb.ModelVersion(name="objects", version="3", digest="ab" * 32)]
    point = pb.ObjectTracks.Point(position=position(5), box=box(0.1, 0.2, 0.5, 0.8), score=0.9)
    late = pb.ObjectTracks.Point(position=position(24), box=box(0, 0, 1, 1), score=0.9)
    tracks = [
        pb.ObjectTracks.Track(track_id=1, label=label, score=0.9, points=[point]),
        pb.ObjectTracks.Track(track_id=2, label=label, score=0.9, points=[late]),
        pb.ObjectTracks.Track(track_id=3, label="dog", score=0.9, points=[point]),
    ]
    line = pb.TextLines.Line(
        text=text,
        score=0.98,
        box=box(0, 0, 0.5, 0.1),
        first_position=position(0),
        last_position=position(24),
        reading_count=2,
    )
    face = pb.Faces.Face(score=0.9, box=box(0, 0, 0.1, 0.1), position=position(5), sighting_count=2)
    scored = [pb.Labels.Label(label=label, score=0.75, best_score=0.9, best_position=position(5))]
    worst = pb.Moderation(label="nsfw", max_score=0.25, mean_score=0.1, max_position=position(5))
    return [
        pb.Annotation(analyzer="shots", shot=pb.Shot(shot_index=0, starts_shot=True, cut_score=1)),
        pb.Annotation(analyzer="labels", labels=pb.Labels(labels=scored)),
        pb.Annotation(analyzer="objects", models=models, objects=pb.ObjectTracks(tracks=tracks)),
        pb.Annotation(analyzer="text", text=pb.TextLines(lines=[line])),
        pb.Annotation(analyzer="faces", faces=pb.Faces(faces=[face], most_at_once=1)),
        pb.Annotation(analyzer="moderation", moderation=worst),
        pb.Annotation(analyzer="similarity", similarity=pb.Similarity(vector=[1.0])),
    ]


def responses(text: str = "STOP", label: str = "person", *, partial: bool = False) -> Responses:
    base = pb.TimeBase(numerator=1, denominator=25)
    media = pb.MediaInfo(
        container="mov",
        codec="h264",
        width=64,
        height=36,
        bit_depth=8,
        time_base=base,
        declared_duration_ns=1_000_000_000,
    )
    interval = pb.Interval(
        start_frame=0, end_frame=25, start_pts=0, end_pts=25, time_base=base, start_ns=0, end_ns=1_000_000_000
    )
    ledger = pb.Ledger(
        source_frames=25, expected_frames=25, decoded_frames=24 if partial else 25, corrupt_frames=int(partial)
    )
    segment = pb.Segment(
        interval=interval,
        annotations=annotations(text, label),
        thumbnail=pb.Thumbnail(jpeg=b"\xff\xd8jpeg", position=position(5), width=64, height=36),
        final=True,
    )
    finished = pb.Finished(
        segment_count=1, media_ns=1_000_000_000, elapsed_ns=300_000_000, realtime_factor=0.3, ledger=ledger
    )
    if partial:
        finished.partial, finished.first_bad_pts, finished.fault = True, 24, "MEDIA_UNREADABLE"
    progress = pb.Progress(media_ns=500_000_000, elapsed_ns=150_000_000, realtime_factor=0.3, ledger=ledger)
    return [
        pb.AnalyzeResponse(analysis_id="a-1", sequence=1, started=pb.Started(media=media, profile="default")),
        pb.AnalyzeResponse(analysis_id="a-1", sequence=2, progress=progress),
        pb.AnalyzeResponse(analysis_id="a-1", sequence=3, segment=segment),
        pb.AnalyzeResponse(analysis_id="a-1", sequence=4, finished=finished),
    ]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Commands configure logging for their whole process; the tests that follow shall not notice."""
    with own_logging():
        yield


@pytest.fixture
def analysis() -> Callable[..., Responses]:
    """Makes the messages of an analysis."""
    return responses

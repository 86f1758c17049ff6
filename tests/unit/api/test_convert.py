"""Every event and every kind of value becomes a message that says the same."""

from __future__ import annotations

from fractions import Fraction

import pytest

from orchestrator.api import messages as pb
from orchestrator.api.convert import EventConverter
from orchestrator.api.convert_values import Clock, set_value
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
    Progress,
    Segment,
    SegmentClosed,
    Shot,
    Similarity,
    Started,
    TextLine,
    Thumbnail,
    TrackPoint,
    Value,
)
from orchestrator.core.timeline import Interval

CLOCK = Clock(Fraction(1001, 30000), start_pts=100)
AT = At(frame=3, pts=103)
BOX = (0.125, 0.25, 0.5, 0.75)
LEDGER = Ledger(source=9, expected=8, decoded=5, corrupt=2, dropped=1, skipped=4, reused=3, redecoded=7)
MEDIA = MediaInfo("mov", "hevc", 640, 272, 90, Fraction(1001, 30000), 100, 5_000_000_000, Fraction(30000, 1001), 10)


def test_the_media_is_told_whole() -> None:
    response = EventConverter().response("a", 1, Started(MEDIA, "fast", ("shots", "text")))
    media = response.started.media
    assert (response.analysis_id, response.sequence) == ("a", 1)
    assert (response.started.profile, list(response.started.analyzers)) == ("fast", ["shots", "text"])
    assert (media.container, media.codec, media.width, media.height) == ("mov", "hevc", 640, 272)
    assert (media.rotation_degrees, media.bit_depth, media.start_pts) == (90, 10, 100)
    assert (media.time_base.numerator, media.time_base.denominator) == (1001, 30000)
    assert media.declared_duration_ns == 5_000_000_000
    assert (media.average_frame_rate.numerator, media.average_frame_rate.denominator) == (30000, 1001)


def test_unknown_facts_are_absent() -> None:
    media = MediaInfo("mpegts", "h264", 2, 2, 0, Fraction(1, 90000), 0, None, None)
    message = EventConverter().response("a", 1, Started(media, "", ())).started.media
    assert not message.HasField("declared_duration_ns")
    assert not message.HasField("average_frame_rate")
    progress = EventConverter().response("a", 1, Progress(0, 5, Ledger(), None)).progress
    assert not progress.HasField("eta_ns")
    assert progress.realtime_factor == 0


def test_what_was_taken_over_and_what_gave_up_is_told() -> None:
    started = EventConverter().response("a", 1, Started(MEDIA, "", ("shots", "text"), ("text",), "b", "nvdec")).started
    assert (list(started.reused_analyzers), started.reused_from, started.decoder) == (["text"], "b", "nvdec")
    failed = Finished(3, 2_000, 1_000, LEDGER, False, None, None, (("faces", "INFERENCE_UNAVAILABLE"),))
    finished = EventConverter().response("a", 9, failed).finished
    assert dict(finished.failed_analyzers) == {"faces": "INFERENCE_UNAVAILABLE"}


def test_progress_and_ledger() -> None:
    progress = EventConverter().response("a", 2, Progress(4_000_000_000, 1_000_000_000, LEDGER, 7)).progress
    assert (progress.media_ns, progress.elapsed_ns, progress.eta_ns) == (4_000_000_000, 1_000_000_000, 7)
    assert progress.realtime_factor == 0.25
    ledger = progress.ledger
    assert (ledger.source_frames, ledger.expected_frames, ledger.decoded_frames, ledger.corrupt_frames) == (9, 8, 5, 2)
    assert (ledger.dropped_frames, ledger.skipped_frames, ledger.reused_frames, ledger.redecoded_frames) == (1, 4, 3, 7)


def test_finished_tells_a_break_only_where_there_is_one() -> None:
    whole = EventConverter().response("a", 9, Finished(3, 2_000, 1_000, LEDGER, False, None, None)).finished
    assert (whole.segment_count, whole.media_ns, whole.elapsed_ns, whole.realtime_factor) == (3, 2_000, 1_000, 0.5)
    assert (whole.partial, whole.fault, whole.HasField("first_bad_pts")) == (False, "", False)
    broken = EventConverter().response("a", 9, Finished(0, 0, 1, LEDGER, True, 0, "MEDIA_UNREADABLE")).finished
    assert (broken.partial, broken.fault, broken.realtime_factor) == (True, "MEDIA_UNREADABLE", 0)
    assert broken.HasField("first_bad_pts")


def test_a_segment_counts_its_nanoseconds_from_the_first_frame() -> None:
    converter = EventConverter()
    assert not converter.knows_time
    converter.learn(None)
    assert not converter.knows_time
    converter.learn(MEDIA)
    models = (ModelVersion("shots", "1", "ab" * 32),)
    annotation = Annotation("shots", models, Shot(2, True, 0.5), frames_analyzed=20, frames_reused=4)
    thumbnail = Thumbnail(b"\xff\xd8", AT, 320, 136)
    closed = Segment(1, Interval(3, 33, 103, 133), (annotation,), thumbnail, final=True)
    segment = converter.response("a", 3, SegmentClosed(closed)).segment
    interval = segment.interval
    assert (interval.start_frame, interval.end_frame, interval.start_pts, interval.end_pts) == (3, 33, 103, 133)
    assert (interval.start_ns, interval.end_ns) == (100_100_000, 1_101_100_000)
    assert (interval.time_base.numerator, interval.time_base.denominator) == (1001, 30000)
    assert (segment.index, segment.final) == (1, True)
    (message,) = segment.annotations
    assert (message.analyzer, message.frames_analyzed, message.frames_reused) == ("shots", 20, 4)
    assert [(model.name, model.version, model.digest) for model in message.models] == [("shots", "1", "ab" * 32)]
    assert (segment.thumbnail.jpeg, segment.thumbnail.width, segment.thumbnail.height) == (b"\xff\xd8", 320, 136)
    assert segment.thumbnail.position.frame == 3


def test_a_segment_needs_the_time_base() -> None:
    with pytest.raises(ValueError, match="before the analysis started"):
        EventConverter().response("a", 1, SegmentClosed(Segment(0, Interval(0, 1, 0, 1), (), None, True)))


POSITION = pb.FramePosition(frame=3, pts=103, offset_ns=100_100_000)
EDGES = pb.Box(left=0.125, top=0.25, right=0.5, bottom=0.75)


@pytest.mark.parametrize(
    ("analyzer", "value", "expected"),
    [
        (
            "shots",
            Shot(2, True, 0.5),
            pb.Annotation(shot=pb.Shot(shot_index=2, starts_shot=True, cut_score=0.5)),
        ),
        (
            "labels",
            (LabelScore("tram", 0.25, 0.5, AT),),
            pb.Annotation(
                labels=pb.Labels(
                    labels=[pb.Labels.Label(label="tram", score=0.25, best_score=0.5, best_position=POSITION)]
                )
            ),
        ),
        (
            "objects",
            (ObjectTrack(7, "car", 0.5, (TrackPoint(AT, BOX, 0.25),)),),
            pb.Annotation(
                objects=pb.ObjectTracks(
                    tracks=[
                        pb.ObjectTracks.Track(
                            track_id=7,
                            label="car",
                            score=0.5,
                            points=[pb.ObjectTracks.Point(position=POSITION, box=EDGES, score=0.25)],
                        )
                    ]
                )
            ),
        ),
        (
            "text",
            (TextLine("STOP", 0.5, BOX, AT, AT, 4),),
            pb.Annotation(
                text=pb.TextLines(
                    lines=[
                        pb.TextLines.Line(
                            text="STOP",
                            score=0.5,
                            box=EDGES,
                            first_position=POSITION,
                            last_position=POSITION,
                            reading_count=4,
                        )
                    ]
                )
            ),
        ),
        (
            "faces",
            Faces((FaceSighting(0.5, BOX, AT, 3, (0.5, -0.5)),), 2),
            pb.Annotation(
                faces=pb.Faces(
                    faces=[
                        pb.Faces.Face(score=0.5, box=EDGES, position=POSITION, sighting_count=3, vector=[0.5, -0.5])
                    ],
                    most_at_once=2,
                )
            ),
        ),
        (
            "moderation",
            Moderation("nsfw", 0.5, 0.25, AT),
            pb.Annotation(
                moderation=pb.Moderation(label="nsfw", max_score=0.5, mean_score=0.25, max_position=POSITION)
            ),
        ),
        ("similarity", Similarity((0.5, 0.25)), pb.Annotation(similarity=pb.Similarity(vector=[0.5, 0.25]))),
        ("labels", (), pb.Annotation(labels=pb.Labels())),
        ("objects", (), pb.Annotation(objects=pb.ObjectTracks())),
        ("text", (), pb.Annotation(text=pb.TextLines())),
        ("faces", Faces((), 0), pb.Annotation(faces=pb.Faces())),
        ("somebody else's", (), pb.Annotation()),
    ],
)
def test_every_kind_of_value(analyzer: str, value: Value, expected: pb.Annotation) -> None:
    message = pb.Annotation(analyzer=analyzer)
    set_value(message, value, CLOCK)
    expected.analyzer = analyzer
    assert message == expected
    assert message.WhichOneof("value") == expected.WhichOneof("value")


def test_every_kind_of_value_has_a_case_above() -> None:
    (marker,) = (mark for mark in test_every_kind_of_value.pytestmark if mark.name == "parametrize")
    covered = {expected.WhichOneof("value") for _, _, expected in marker.args[1]}
    assert covered == {field.name for field in pb.Annotation.DESCRIPTOR.oneofs_by_name["value"].fields} | {None}


def test_json_is_one_line_and_names_zeros() -> None:
    line = pb.to_json(pb.AnalyzeResponse(segment=pb.Segment(index=0)))
    assert "\n" not in line
    assert '"index": 0' in line

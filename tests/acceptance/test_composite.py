"""The composite through the default profile, by the real command, against the known truth."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ReelsiftClient
from orchestrator.settings import Settings
from tests.acceptance.answers import Answer, annotation, assert_same, collect
from tests.acceptance.conftest import Run
from tests.acceptance.summary import differences, summarise
from tests.conftest import Film
from tests.media.truth import Span

GOLDEN = Path(__file__).parent / "golden" / "composite.json"
SCORE_TOLERANCE = 0.01  # processors add in different orders; a wrong model or picture is off by far more
ALIKE = 12.0  # mean difference of a thumbnail and its frame, of 255: JPEG and another way of scaling


@pytest.fixture(scope="module")
def answer(run: Run) -> Answer:
    return run.answer


def span(segment: pb.Segment) -> Span:
    return Span(segment.interval.start_frame, segment.interval.end_frame)


def inside(frame: int, spans: tuple[Span, ...]) -> bool:
    return any(each.start <= frame < each.end for each in spans)


@cache
def demuxed(path: Path) -> tuple[list[int], int]:
    """The pts of every packet in order, and the end of the last, by libav alone."""
    with av.open(str(path)) as container:
        packets = [(packet.pts, packet.duration) for packet in container.demux(video=0) if packet.size]
    packets.sort()
    return [pts for pts, _ in packets], sum(packets[-1])


def test_every_cut_is_found_and_no_other(answer: Answer, composite: Film) -> None:
    found = [
        segment.interval.start_frame for segment in answer.segments if annotation(segment, "shots").shot.starts_shot
    ]
    assert found[0] == 0
    assert len(found) - 1 == len(composite.truth.cuts), found
    assert all(abs(one - true) <= 1 for one, true in zip(found[1:], composite.truth.cuts, strict=True)), found
    assert len(found) == len(answer.segments), "no shot of the composite is long enough to be split"


def test_intervals_tile_the_media_exactly(answer: Answer, composite: Film) -> None:
    pts, end = demuxed(composite.path)
    intervals = [segment.interval for segment in answer.segments]
    assert [segment.index for segment in answer.segments] == list(range(len(intervals)))
    assert [segment.final for segment in answer.segments] == [False] * (len(intervals) - 1) + [True]
    assert (intervals[0].start_frame, intervals[-1].end_frame) == (0, len(pts))
    assert intervals[-1].end_pts == end
    for before, after in pairwise(intervals):
        assert (before.end_frame, before.end_pts, before.end_ns) == (after.start_frame, after.start_pts, after.start_ns)
    for each in intervals:
        assert each.start_frame < each.end_frame
        assert each.start_pts == pts[each.start_frame]
        assert each.time_base == answer.media.time_base
        second = 1_000_000_000 * each.time_base.numerator
        assert each.start_ns == (each.start_pts - pts[0]) * second // each.time_base.denominator
        assert each.end_ns == (each.end_pts - pts[0]) * second // each.time_base.denominator


def test_every_position_is_a_frame_of_the_source_inside_its_segment(answer: Answer, composite: Film) -> None:
    pts, _ = demuxed(composite.path)

    def positions(message: object) -> list[pb.FramePosition]:
        if isinstance(message, pb.FramePosition):
            return [message]
        found = []
        for field, value in message.ListFields():  # type: ignore[attr-defined]
            if field.message_type is not None:
                for part in value if field.is_repeated else [value]:
                    found += positions(part)
        return found

    count = 0
    for segment in answer.segments:
        for position in positions(segment):
            assert inside(position.frame, (span(segment),))
            assert position.pts == pts[position.frame]
            count += 1
    assert count > 100


def test_the_ledger_accounts_for_every_frame(answer: Answer, composite: Film) -> None:
    ledger, frames = answer.finished.ledger, composite.truth.frames
    assert (ledger.source_frames, ledger.expected_frames, ledger.decoded_frames) == (frames, frames, frames)
    assert ledger.corrupt_frames == ledger.dropped_frames == ledger.skipped_frames == 0
    assert not answer.finished.partial
    assert answer.finished.segment_count == len(answer.segments)


def test_every_burnt_in_line_is_read_where_it_is_and_nowhere_else(answer: Answer, composite: Film) -> None:
    for caption in composite.truth.captions:
        shown = [segment for segment in answer.segments if span(segment).overlaps(caption.span)]
        assert shown
        for segment in answer.segments:
            lines = [line for line in annotation(segment, "text").text.lines if line.text == caption.text]
            assert len(lines) == (segment in shown), (caption.text, segment.index)
            for line in lines:
                assert inside(line.first_position.frame, (caption.span,))
                assert inside(line.last_position.frame, (caption.span,))
                box = np.array([line.box.left, line.box.top, line.box.right, line.box.bottom])
                x0, y0, x1, y1 = caption.box
                size = [composite.truth.width, composite.truth.height] * 2
                assert np.abs(box - np.array([x0, y0, x1, y1]) / size).max() < 0.03, (caption.text, box)


@pytest.mark.parametrize(("label", "spans"), [("person", "persons"), ("car", "cars"), ("bicycle", "bicycles")])
def test_people_cars_and_bicycles_are_found_where_they_are(
    answer: Answer, composite: Film, label: str, spans: str
) -> None:
    for held in getattr(composite.truth, spans):
        points = [
            point
            for segment in answer.segments
            for track in annotation(segment, "objects").objects.tracks
            if track.label == label
            for point in track.points
            if inside(point.position.frame, (held,))
        ]
        assert points, f"no {label} in {held}"


def test_cards_and_the_street_without_people_hold_no_object_or_person(answer: Answer) -> None:
    """The control of the test above: classes are not found everywhere."""
    by_start = {segment.interval.start_frame: annotation(segment, "objects").objects for segment in answer.segments}
    assert not by_start[0].tracks, "a card of text"
    assert {track.label for track in by_start[373].tracks} == {"car"}, "a busy road"
    assert "bicycle" not in {track.label for track in by_start[253].tracks}, "a man in a car"


def test_a_face_is_found_where_one_is_and_none_in_the_street(answer: Answer, composite: Film) -> None:
    truth = composite.truth
    bare = 0
    for segment in answer.segments:
        faces = annotation(segment, "faces").faces.faces
        if any(each.start <= span(segment).start and span(segment).end <= each.end for each in truth.faces):
            assert len(faces) == 1, "one man, one face"
            assert faces[0].sighting_count == annotation(segment, "faces").frames_analyzed
            assert np.linalg.norm(faces[0].vector) == pytest.approx(1, abs=1e-3)
        if any(each.start <= span(segment).start and span(segment).end <= each.end for each in truth.no_faces):
            assert not faces, segment.index
            bare += 1
        assert not any(inside(face.position.frame, truth.no_faces) for face in faces), segment.index
    assert bare >= 3


def test_every_annotation_names_the_models_that_made_it(answer: Answer) -> None:
    repository = Settings().model_repository
    seen = set()
    for segment in answer.segments:
        names = [each.analyzer for each in segment.annotations]
        assert names == ["shots", "labels", "similarity", "moderation", "objects", "text", "faces"]
        for each in segment.annotations:
            assert each.models
            for model in each.models:
                manifest = json.loads((repository / model.name / model.version / "manifest.json").read_text())
                assert len(model.digest) == 64
                assert model.digest == manifest["digest"]
                seen.add(model.name)
    assert seen == {
        *("shots", "labels", "moderation", "objects", "faces", "face_embedding"),
        *("text_detection", "text_recognition"),
    }


def test_thumbnails_show_the_frame_that_they_name(answer: Answer, composite: Film) -> None:
    wanted = {segment.thumbnail.position.frame: segment for segment in answer.segments}
    assert len(wanted) == len(answer.segments)
    with av.open(str(composite.path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if (segment := wanted.get(index)) is None:
                continue
            thumbnail = cv2.imdecode(np.frombuffer(segment.thumbnail.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert thumbnail is not None, "not a JPEG"
            assert segment.thumbnail.jpeg.startswith(b"\xff\xd8")
            height, width = thumbnail.shape[:2]
            assert (segment.thumbnail.width, segment.thumbnail.height) == (width, height) == (480, 270)
            source = cv2.resize(frame.to_ndarray(format="bgr24"), (width, height), interpolation=cv2.INTER_AREA)
            assert np.abs(source.astype(float) - thumbnail).mean() < ALIKE, index


def test_the_log_is_numbered_without_a_gap(answer: Answer) -> None:
    assert len({response.analysis_id for response in answer.responses}) == 1
    by_kind = [(each.WhichOneof("event"), each.sequence) for each in answer.responses]
    assert {sequence for kind, sequence in by_kind if kind in ("progress", "upload_progress")} == {0}
    logged = [sequence for kind, sequence in by_kind if kind not in ("progress", "upload_progress")]
    assert logged == list(range(1, len(answer.segments) + 3))


def test_results_are_the_golden_ones(answer: Answer) -> None:
    """A change here that is meant: see ``tests.acceptance.summary``."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(summarise(answer)))
    assert not differences(found, golden, SCORE_TOLERANCE)


def test_the_comparison_with_the_golden_results_sees_a_difference(answer: Answer) -> None:
    """Negative control."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    golden["segments"][0]["text"][0][0] = "REELSIFT DEM0 2026"
    golden["segments"][1]["cut"] -= 0.1
    assert len(differences(summarise(answer), golden, SCORE_TOLERANCE)) >= 2


async def test_two_analyses_side_by_side_answer_as_one_alone(
    answer: Answer, composite: Film, client: ReelsiftClient
) -> None:
    anew = AnalysisOptions(ignore_known=True)
    both = await asyncio.gather(
        collect(client.analyze_file(composite.path, anew)), collect(client.analyze_file(composite.path, anew))
    )
    began = max(each.at[0] for each in both)
    assert all(each.at[-1] > began for each in both), "they were to overlap"
    for each in both:
        assert_same(each, answer)

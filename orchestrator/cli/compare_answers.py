"""What the service answered about a clip, as the comparison reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.api import messages as pb
from orchestrator.comparing.answers import Answer, Cut, Detection, Face, Line, SegmentAnswer, Span, Unsafe
from orchestrator.core.results import Box


def answer_of(clip: str, responses: Sequence[pb.AnalyzeResponse], sampled: tuple[int, ...] = ()) -> Answer:
    """The answer in ``responses``, those of one analysis; ``clip``: what it is called."""
    segments = [response.segment for response in responses if response.HasField("segment")]
    analyzers = {annotation.analyzer for segment in segments for annotation in segment.annotations}
    return Answer(clip, tuple(_segment(segment) for segment in segments), frozenset(analyzers), sampled)


def _segment(segment: pb.Segment) -> SegmentAnswer:
    span = Span(segment.interval.start_frame, segment.interval.end_frame)
    found = SegmentAnswer(span, span.start)
    for annotation in segment.annotations:
        found = _with(found, annotation)
    return found


def _with(found: SegmentAnswer, annotation: pb.Annotation) -> SegmentAnswer:
    match annotation.WhichOneof("value"):
        case "shot":
            cut = Cut(found.span.start, annotation.shot.cut_score) if annotation.shot.starts_shot else None
            return replace(found, starts_shot=cut)
        case "labels":
            labels = annotation.labels.labels
            frame = labels[0].best_position.frame if labels else found.frame
            return replace(found, frame=frame, ranking=tuple((label.label, label.score) for label in labels))
        case "objects":
            tracks = annotation.objects.tracks
            return replace(found, objects=tuple(each for track in tracks for each in _detections(track)))
        case "text":
            return replace(found, lines=tuple(_line(line) for line in annotation.text.lines))
        case "faces":
            faces = tuple(_face(face) for face in annotation.faces.faces)
            return replace(found, faces=faces, most_faces=annotation.faces.most_at_once)
        case "moderation":
            value = annotation.moderation
            return replace(found, unsafe=Unsafe(value.max_score, value.max_position.frame))
        case "similarity":
            return replace(found, vector=tuple(annotation.similarity.vector))
    return found


def _detections(track: pb.ObjectTracks.Track) -> list[Detection]:
    return [Detection(point.position.frame, track.label, _box(point.box), point.score) for point in track.points]


def _line(line: pb.TextLines.Line) -> Line:
    return Line(line.text, line.first_position.frame, line.last_position.frame, _box(line.box), line.score)


def _face(face: pb.Faces.Face) -> Face:
    return Face(Detection(face.position.frame, "face", _box(face.box), face.score), tuple(face.vector))


def _box(box: pb.Box) -> Box:
    return box.left, box.top, box.right, box.bottom

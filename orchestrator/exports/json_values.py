"""Values of annotations in the shape of the API's JSON: 64-bit integers are strings."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from orchestrator.core.results import (
    Annotation,
    At,
    Box,
    Faces,
    FaceSighting,
    LabelScore,
    Moderation,
    ObjectTrack,
    Shot,
    Similarity,
    TextLine,
    TrackPoint,
    Value,
)
from orchestrator.exports.subject import Subject, kind_of

Json = dict[str, Any]
_ITEMS = {"labels": "labels", "objects": "tracks", "text": "lines"}


def annotation_value(subject: Subject, annotation: Annotation) -> Json:
    """The member that holds an annotation's value, under its kind; none for an empty answer of an unknown analyzer."""
    kind = kind_of(annotation)
    return {} if kind is None else {kind: _value(subject, kind, annotation.value)}


def position(subject: Subject, at: At) -> Json:
    """A frame of the source."""
    return {"frame": str(at.frame), "pts": str(at.pts), "offsetNs": str(subject.ns(at.pts))}


def rational(value: Fraction) -> Json:
    """A time base or a frame rate."""
    return {"numerator": str(value.numerator), "denominator": str(value.denominator)}


def _value(subject: Subject, kind: str, value: Value) -> Json:
    match value:
        case Shot():
            return {"shotIndex": value.shot_index, "startsShot": value.starts_shot, "cutScore": value.score}
        case Faces():
            return {"faces": [_face(subject, face) for face in value.faces], "mostAtOnce": value.most_at_once}
        case Moderation():
            scores = {"label": value.label, "maxScore": value.max_score, "meanScore": value.mean_score}
            return {**scores, "maxPosition": position(subject, value.at)}
        case Similarity():
            return {"vector": value.vector}
    return {_ITEMS[kind]: [_item(subject, item) for item in value]}


def _item(subject: Subject, item: LabelScore | ObjectTrack | TextLine) -> Json:
    match item:
        case LabelScore():
            scores = {"label": item.label, "score": item.score, "bestScore": item.best_score}
            return {**scores, "bestPosition": position(subject, item.best)}
        case ObjectTrack():
            points = [_point(subject, point) for point in item.points]
            return {"trackId": str(item.track_id), "label": item.label, "score": item.score, "points": points}
        case TextLine():
            return {
                "text": item.text,
                "score": item.score,
                "box": _box(item.box),
                "firstPosition": position(subject, item.first),
                "lastPosition": position(subject, item.last),
                "readingCount": item.readings,
            }


def _point(subject: Subject, point: TrackPoint) -> Json:
    return {"position": position(subject, point.at), "box": _box(point.box), "score": point.score}


def _face(subject: Subject, face: FaceSighting) -> Json:
    return {
        "score": face.score,
        "box": _box(face.box),
        "position": position(subject, face.at),
        "sightingCount": face.sightings,
        "vector": face.vector,
    }


def _box(box: Box) -> Json:
    return dict(zip(("left", "top", "right", "bottom"), box, strict=True))

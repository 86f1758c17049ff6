"""The rows of the Parquet file: what its columns mean is told in ``ops/exports.md``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from orchestrator.core.results import (
    Annotation,
    At,
    Box,
    Faces,
    LabelScore,
    Moderation,
    ObjectTrack,
    Segment,
    Shot,
    Similarity,
    TextLine,
)
from orchestrator.exports.subject import Subject, kind_of

Row = dict[str, Any]

_BOX = pa.struct([(edge, pa.float64()) for edge in ("left", "top", "right", "bottom")])
_POSITION = [("frame", pa.int64()), ("pts", pa.int64()), ("offset_ns", pa.int64())]
SCHEMA = pa.schema(
    [
        pa.field("analysis_id", pa.string(), nullable=False),
        pa.field("segment_index", pa.int32(), nullable=False),
        pa.field("start_frame", pa.int64(), nullable=False),
        pa.field("end_frame", pa.int64(), nullable=False),
        pa.field("start_pts", pa.int64(), nullable=False),
        pa.field("end_pts", pa.int64(), nullable=False),
        pa.field("time_base_numerator", pa.int64(), nullable=False),
        pa.field("time_base_denominator", pa.int64(), nullable=False),
        pa.field("start_ns", pa.int64(), nullable=False),
        pa.field("end_ns", pa.int64(), nullable=False),
        pa.field("kind", pa.string()),
        ("analyzer", pa.string()),
        ("models", pa.list_(pa.struct([(name, pa.string()) for name in ("name", "version", "digest")]))),
        ("frames_analyzed", pa.int64()),
        ("frames_reused", pa.int64()),
        ("item", pa.int32()),
        ("label", pa.string()),
        ("text", pa.string()),
        ("score", pa.float64()),
        ("best_score", pa.float64()),
        ("mean_score", pa.float64()),
        ("shot_index", pa.int32()),
        ("starts_shot", pa.bool_()),
        ("track_id", pa.int64()),
        *_POSITION,
        *((f"last_{name}", kind) for name, kind in _POSITION),
        ("box", _BOX),
        ("count", pa.int32()),
        ("most_at_once", pa.int32()),
        ("points", pa.list_(pa.struct([*_POSITION, ("box", _BOX), ("score", pa.float64())]))),
        ("vector", pa.list_(pa.float32())),
        ("thumbnail", pa.binary()),
        ("final", pa.bool_()),
    ]
)


def rows(subject: Subject, segment: Segment) -> Iterator[Row]:
    """The rows of a segment: its own, then those of its annotations."""
    interval, base = segment.interval, subject.media.time_base
    place: Row = {
        "analysis_id": subject.record.id,
        "segment_index": segment.index,
        "start_frame": interval.start_frame,
        "end_frame": interval.end_frame,
        "start_pts": interval.start_pts,
        "end_pts": interval.end_pts,
        "time_base_numerator": base.numerator,
        "time_base_denominator": base.denominator,
        "start_ns": subject.ns(interval.start_pts),
        "end_ns": subject.ns(interval.end_pts),
    }
    picture = segment.thumbnail
    shown = {} if picture is None else {"thumbnail": picture.jpeg, **_position(subject, picture.at)}
    yield {**place, "kind": "segment", "final": segment.final, **shown}
    for annotation in segment.annotations:
        source = {
            "kind": kind_of(annotation),
            "analyzer": annotation.analyzer,
            "models": [{"name": m.name, "version": m.version, "digest": m.digest} for m in annotation.models],
            "frames_analyzed": annotation.frames_analyzed,
            "frames_reused": annotation.frames_reused,
        }
        shared, found = _items(subject, annotation)
        for number, item in enumerate(found):
            yield {**place, **source, **shared, "item": number, **item}
        if not found:
            yield {**place, **source, **shared}


def weight(segment: Segment) -> int:
    """About how many bytes the rows of a segment are, as Python holds them."""
    total = 1024 + (len(segment.thumbnail.jpeg) if segment.thumbnail else 0)
    for annotation in segment.annotations:
        match annotation.value:
            case Similarity(vector):
                total += 2048 + 32 * len(vector)
            case Faces(faces):
                total += 2048 + sum(2048 + 32 * len(face.vector) for face in faces)
            case tuple() as found:
                points = sum(len(item.points) for item in found if isinstance(item, ObjectTrack))
                total += 2048 * (1 + len(found)) + 512 * points
            case _:
                total += 2048
    return total


def _items(subject: Subject, annotation: Annotation) -> tuple[Row, list[Row]]:
    """What all rows of an annotation share, and its items."""
    match annotation.value:
        case Shot(shot_index, starts_shot, score):
            return {}, [{"shot_index": shot_index, "starts_shot": starts_shot, "score": score}]
        case Moderation(label, max_score, mean_score, at):
            scores = {"label": label, "score": max_score, "mean_score": mean_score}
            return {}, [{**scores, **_position(subject, at)}]
        case Similarity(vector):
            return {}, [{"vector": vector}]
        case Faces(faces, most_at_once):
            found = [
                {
                    "score": face.score,
                    "box": _box(face.box),
                    "count": face.sightings,
                    "vector": face.vector,
                    **_position(subject, face.at),
                }
                for face in faces
            ]
            return {"most_at_once": most_at_once}, found
    return {}, [_item(subject, item) for item in annotation.value]


def _item(subject: Subject, item: LabelScore | ObjectTrack | TextLine) -> Row:
    match item:
        case LabelScore():
            scores = {"label": item.label, "score": item.score, "best_score": item.best_score}
            return {**scores, **_position(subject, item.best)}
        case TextLine():
            return {
                "text": item.text,
                "score": item.score,
                "box": _box(item.box),
                "count": item.readings,
                **_position(subject, item.first),
                **_position(subject, item.last, "last_"),
            }
        case ObjectTrack():
            points = [
                {**_position(subject, point.at), "box": _box(point.box), "score": point.score} for point in item.points
            ]
            ends = {}
            if item.points:
                ends = _position(subject, item.points[0].at) | _position(subject, item.points[-1].at, "last_")
            facts = {"track_id": item.track_id, "label": item.label, "score": item.score, "count": len(points)}
            return {**facts, "points": points, **ends}


def _position(subject: Subject, at: At, prefix: str = "") -> Row:
    return {f"{prefix}frame": at.frame, f"{prefix}pts": at.pts, f"{prefix}offset_ns": subject.ns(at.pts)}


def _box(box: Box) -> Row:
    return dict(zip(("left", "top", "right", "bottom"), box, strict=True))

"""The whole analysis can be put together again from the rows that pyarrow reads."""

from __future__ import annotations

import io
import json
from itertools import groupby
from typing import Any

import pyarrow.parquet as pq
from hypothesis import given, settings

from orchestrator.core.results import (
    Annotation,
    At,
    Box,
    Faces,
    FaceSighting,
    LabelScore,
    ModelVersion,
    Moderation,
    ObjectTrack,
    Segment,
    Shot,
    Similarity,
    TextLine,
    Thumbnail,
    TrackPoint,
    Value,
)
from orchestrator.core.timeline import Interval
from orchestrator.exports import export
from tests.unit.exports.made import Made, analyses, composite, media, record
from tests.unit.exports.test_export import heavy

Row = dict[str, Any]


def read(data: bytes) -> list[Row]:
    return pq.read_table(io.BytesIO(data)).to_pylist()


@settings(max_examples=25, deadline=None)
@given(made=analyses())
def test_the_rows_hold_everything(made: Made) -> None:
    rows = read(made.file("parquet"))
    rebuilt = [segment(list(group)) for _, group in groupby(rows, lambda row: row["segment_index"])]
    assert rebuilt == list(made.segments)
    base = made.media.time_base
    for row in rows:
        assert row["analysis_id"] == "a-1"
        assert (row["time_base_numerator"], row["time_base_denominator"]) == (base.numerator, base.denominator)
        assert row["start_ns"] == made.seconds(row["start_pts"]) * 1_000_000_000 // 1
        assert row["end_ns"] == made.seconds(row["end_pts"]) * 1_000_000_000 // 1
        for prefix in ("", "last_"):
            if row[f"{prefix}pts"] is not None:
                assert row[f"{prefix}offset_ns"] == made.seconds(row[f"{prefix}pts"]) * 1_000_000_000 // 1


def segment(rows: list[Row]) -> Segment:
    """The segment that ``rows`` tell of; a picture's size is only in the picture itself."""
    own, *others = rows
    assert own["kind"] == "segment"
    thumbnail = None
    if own["thumbnail"] is not None:
        thumbnail = Thumbnail(own["thumbnail"], at(own), 32, 18)
    interval = Interval(own["start_frame"], own["end_frame"], own["start_pts"], own["end_pts"])
    annotations = tuple(annotation(list(group)) for _, group in groupby(others, lambda row: row["analyzer"]))
    return Segment(own["segment_index"], interval, annotations, thumbnail, own["final"])


def annotation(rows: list[Row]) -> Annotation:
    first = rows[0]
    assert [row["item"] for row in rows] in ([None], list(range(len(rows))))
    models = tuple(ModelVersion(**model) for model in first["models"])
    return Annotation(first["analyzer"], models, value(rows), first["frames_analyzed"], first["frames_reused"])


def value(rows: list[Row]) -> Value:
    first = rows[0]
    found = [row for row in rows if row["item"] is not None]
    match first["kind"]:
        case "shot":
            return Shot(first["shot_index"], first["starts_shot"], first["score"])
        case "moderation":
            return Moderation(first["label"], first["score"], first["mean_score"], at(first))
        case "similarity":
            return Similarity(tuple(first["vector"]))
        case "faces":
            faces = (
                FaceSighting(row["score"], box(row["box"]), at(row), row["count"], tuple(row["vector"]))
                for row in found
            )
            return Faces(tuple(faces), first["most_at_once"])
        case "labels":
            return tuple(LabelScore(row["label"], row["score"], row["best_score"], at(row)) for row in found)
        case "text":
            return tuple(
                TextLine(row["text"], row["score"], box(row["box"]), at(row), at(row, "last_"), row["count"])
                for row in found
            )
        case "objects":
            return tuple(track(row) for row in found)
    assert (first["kind"], found) == (None, [])
    return ()


def track(row: Row) -> ObjectTrack:
    points = tuple(TrackPoint(at(point), box(point["box"]), point["score"]) for point in row["points"])
    assert (points[0].at, points[-1].at, len(points)) == (at(row), at(row, "last_"), row["count"])
    return ObjectTrack(row["track_id"], row["label"], row["score"], points)


def at(row: Row, prefix: str = "") -> At:
    return At(row[f"{prefix}frame"], row[f"{prefix}pts"])


def box(edges: dict[str, float]) -> Box:
    return (edges["left"], edges["top"], edges["right"], edges["bottom"])


def test_the_composite_as_a_table() -> None:
    made = composite()
    table = pq.read_table(io.BytesIO(made.file("parquet")))
    facts = json.loads(table.schema.metadata[b"reelsift"])
    assert facts["name"] == "composite.mp4"
    assert (facts["time_base"], facts["average_frame_rate"]) == ([1, 12800], [25, 1])
    rows = table.to_pylist()
    text = [(row["start_frame"], row["text"]) for row in rows if row["kind"] == "text" and row["item"] is not None]
    assert text[:2] == [(0, "REELSIFT DEMO 2026"), (126, "BREAKING NEWS: RIVER FERRY")]
    assert [row["segment_index"] for row in rows if row["kind"] == "segment"] == list(range(11))


def test_long_analyses_have_several_row_groups() -> None:
    data = b"".join(export(record(media()), heavy(900), "parquet"))
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.metadata.num_row_groups > 1
    assert file.metadata.num_rows == 2 * 900
    indices = file.read(["segment_index", "kind"]).to_pylist()
    assert [row["segment_index"] for row in indices if row["kind"] == "segment"] == list(range(900))

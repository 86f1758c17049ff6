"""Segments, their annotations and thumbnails, written and read as a whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from orchestrator.adapters.stores.codec import (
    decode,
    decode_json,
    decode_value,
    encode,
    encode_json,
    encode_value,
    to_us,
)
from orchestrator.adapters.stores.rows import INSERT
from orchestrator.adapters.stores.schema import annotation_rows, artifacts, model_versions, segments
from orchestrator.core.results import Annotation, At, ModelVersion, Segment, Thumbnail
from orchestrator.core.timeline import Interval

THUMBNAIL = "THUMBNAIL"
"""Kind of an artifact: the JPEG of a segment."""

_Row = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Picture:
    """What a thumbnail is, but for its bytes."""

    at: At
    width: int
    height: int


def write_segment(connection: Connection, analysis_id: str, segment: Segment, now: datetime) -> None:
    """Insert ``segment`` and everything of it."""
    thumbnail, interval = segment.thumbnail, segment.interval
    row = {
        "analysis_id": analysis_id,
        "number": segment.index,
        "start_frame": interval.start_frame,
        "end_frame": interval.end_frame,
        "start_pts": interval.start_pts,
        "end_pts": interval.end_pts,
        "final": segment.final,
        "thumbnail": thumbnail and encode(_Picture, _Picture(thumbnail.at, thumbnail.width, thumbnail.height)),
    }
    connection.execute(insert(segments).values(row))
    if segment.annotations:
        ids = _model_ids(connection, {model for each in segment.annotations for model in each.models})
        rows = [
            _annotation_row(analysis_id, segment.index, at, each, ids) for at, each in enumerate(segment.annotations)
        ]
        connection.execute(insert(annotation_rows), rows)
    if thumbnail is not None:
        write_thumbnail(connection, analysis_id, segment.index, thumbnail.jpeg, now)


def _annotation_row(
    analysis_id: str, segment: int, position: int, annotation: Annotation, ids: Mapping[ModelVersion, int]
) -> dict[str, object]:
    kind, value = encode_value(annotation.value)
    return {
        "analysis_id": analysis_id,
        "segment": segment,
        "position": position,
        "analyzer": annotation.analyzer,
        "kind": kind,
        "value": value,
        "models": encode_json([ids[model] for model in annotation.models]),
        "frames_analyzed": annotation.frames_analyzed,
        "frames_reused": annotation.frames_reused,
    }


def _model_ids(connection: Connection, models: set[ModelVersion]) -> dict[ModelVersion, int]:
    """Their ids; new ones are put down. There are few, ever, and they stay."""
    if not models:
        return {}
    ids = _known_models(connection)
    missing = models - ids.keys()
    if missing:
        rows = [{"name": each.name, "version": each.version, "digest": each.digest} for each in missing]
        rows.sort(key=lambda each: tuple(each.values()))  # two that insert the same wait in the same order
        connection.execute(INSERT[connection.dialect.name](model_versions).on_conflict_do_nothing(), rows)
        ids = _known_models(connection)
    return ids


def _known_models(connection: Connection) -> dict[ModelVersion, int]:
    return {
        ModelVersion(row.name, row.version, row.digest): row.id for row in connection.execute(select(model_versions))
    }


def write_thumbnail(connection: Connection, analysis_id: str, segment: int, jpeg: bytes, now: datetime) -> None:
    """Keep a segment's JPEG: in its row, so that both appear together or not at all."""
    row = {
        "key": f"thumbnails/{analysis_id}/{segment:06d}.jpg",
        "analysis_id": analysis_id,
        "segment": segment,
        "kind": THUMBNAIL,
        "size": len(jpeg),
        "create_us": to_us(now),
        "body": jpeg,
    }
    connection.execute(insert(artifacts).values(row))


def _read_thumbnails(connection: Connection, analysis_id: str, first: int, end: int) -> dict[int, bytes]:
    query = select(artifacts.c.segment, artifacts.c.body).where(
        artifacts.c.analysis_id == analysis_id,
        artifacts.c.kind == THUMBNAIL,
        artifacts.c.segment >= first,
        artifacts.c.segment < end,
    )
    return {row.segment: row.body for row in connection.execute(query)}


def read_segments(connection: Connection, analysis_id: str, first: int, limit: int) -> Callable[[], list[Segment]]:
    """At most ``limit`` segments from number ``first`` on. One whose thumbnail is no longer kept has none.

    What comes back makes them out of their rows. That takes ten times as long as reading the rows, and is better done
    behind the transaction: on SQLite a reader keeps the writer waiting.
    """
    end = first + limit
    query = (
        select(segments)
        .where(segments.c.analysis_id == analysis_id, segments.c.number >= first, segments.c.number < end)
        .order_by(segments.c.number)
    )
    rows = connection.execute(query).all()
    if not rows:
        return list
    said = _read_annotations(connection, analysis_id, first, end)
    models = {number: model for model, number in _known_models(connection).items()}
    pictures = _read_thumbnails(connection, analysis_id, first, end)

    def make() -> list[Segment]:
        return [
            Segment(
                index=row.number,
                interval=Interval(row.start_frame, row.end_frame, row.start_pts, row.end_pts),
                annotations=tuple(_annotation(each, models) for each in said[row.number]),
                thumbnail=_thumbnail(row.thumbnail, pictures.get(row.number)),
                final=row.final,
            )
            for row in rows
        ]

    return make


def _read_annotations(connection: Connection, analysis_id: str, first: int, end: int) -> dict[int, list[_Row]]:
    table = annotation_rows
    query = (
        select(table)
        .where(table.c.analysis_id == analysis_id, table.c.segment >= first, table.c.segment < end)
        .order_by(table.c.segment, table.c.position)
    )
    found: dict[int, list[_Row]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.segment].append(row)
    return found


def _annotation(row: _Row, models: Mapping[int, ModelVersion]) -> Annotation:
    return Annotation(
        analyzer=row.analyzer,
        models=tuple(models[number] for number in decode_json(row.models)),
        value=decode_value(row.kind, row.value),
        frames_analyzed=row.frames_analyzed,
        frames_reused=row.frames_reused,
    )


def _thumbnail(picture: str | None, jpeg: bytes | None) -> Thumbnail | None:
    if picture is None or jpeg is None:
        return None
    known = decode(_Picture, picture)
    return Thumbnail(jpeg, known.at, known.width, known.height)

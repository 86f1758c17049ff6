"""Puts a segment where search finds it, inside the transaction that commits it: the ``indexers`` hook of the store."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import structlog
from sqlalchemy import Connection, RowMapping, text

from orchestrator.adapters.stores.codec import decode
from orchestrator.core.documents import Document, Look, document_of, dump
from orchestrator.core.results import Segment, Started
from orchestrator.core.timeline import pts_to_ns
from orchestrator.core.words import stems

_TEXT_LIMIT = 16_000  # positions of a tsvector end there

log = structlog.get_logger(__name__)


def index_segment(connection: Connection, analysis: RowMapping, segment: Segment) -> None:
    """Index ``segment`` of the analysis whose row is given."""
    document = document_of(segment.annotations)
    media = decode(Started, analysis["started"]).media
    start, end = (
        pts_to_ns(pts - media.start_pts, media.time_base)
        for pts in (segment.interval.start_pts, segment.interval.end_pts)
    )
    values: dict[str, object] = {
        "analysis_id": analysis["id"],
        "number": segment.index,
        "tenant": analysis["tenant"],
        "create_us": analysis["create_us"],
        "start_ns": start,
        "end_ns": end,
        "time_base": str(media.time_base),
        "moderation": document.moderation,
        "has_face": document.has_face,
        "document": dump(document),
    }
    insert = _into_postgres if connection.dialect.name == "postgresql" else _into_sqlite
    row = insert(connection, values, document)
    if document.text:
        connection.execute(text("INSERT INTO search_todo (segment_id) VALUES (:row)"), {"row": row})


def sqlite_words(texts: Iterable[str]) -> str:
    """The stems of ``texts`` as words of ASCII, which FTS5 takes apart exactly where we did."""
    return " ".join(ascii_word(word) for line in texts for word in stems(line))


def ascii_word(word: str) -> str:
    """``word`` in letters that every version of FTS5 knows for letters."""
    return word if word.isascii() else "u" + word.encode().hex()


def tsvector(texts: Iterable[str]) -> str:
    """The stems of ``texts`` as the literal of a tsvector, with a gap between two texts: no parser comes between."""
    places: dict[str, list[int]] = {}
    at = 0
    for line in texts:
        for word in stems(line):
            at += 1
            if at < _TEXT_LIMIT:
                places.setdefault(word, []).append(at)
        at += 1
    return " ".join(f"'{word}':{','.join(map(str, found[:255]))}" for word, found in places.items())


def vector_text(vector: Iterable[float]) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(f"{value:.8g}" for value in vector) + "]"


def _into_sqlite(connection: Connection, values: dict[str, object], document: Document) -> int:
    words = sqlite_words(line.text for line in document.lines)
    row = connection.execute(
        text(
            "INSERT INTO search_segments (analysis_id, number, start_ns, end_ns, time_base, moderation, has_face, document, words)"
            " VALUES (:analysis_id, :number, :start_ns, :end_ns, :time_base, :moderation, :has_face, :document, :words)"
            " RETURNING id"
        ),
        {**values, "words": words},
    ).scalar_one()
    connection.execute(
        text("INSERT INTO search_words (rowid, words) VALUES (:row, :words)"), {"row": row, "words": words}
    )
    if look := _usable(document.look):
        connection.execute(
            text("INSERT INTO search_looks (segment_id, space, vector) VALUES (:row, :space, :vector)"),
            {"row": row, "space": look.space, "vector": np.asarray(look.vector, "<f4").tobytes()},
        )
    return int(row)


def _into_postgres(connection: Connection, values: dict[str, object], document: Document) -> int:
    row = connection.execute(
        text(
            "INSERT INTO search_segments (analysis_id, number, start_ns, end_ns, time_base, moderation, has_face, document)"
            " VALUES (:analysis_id, :number, :start_ns, :end_ns, :time_base, :moderation, :has_face, :document) RETURNING id"
        ),
        values,
    ).scalar_one()
    connection.execute(
        text(
            "WITH filters AS (INSERT INTO search_filters (segment_id, create_us, duration_ns, moderation, has_face, tenant)"
            " VALUES (:row, :create_us, :end_ns - :start_ns, :moderation, :has_face, :tenant)),"
            " words AS (INSERT INTO search_words (segment_id, words) VALUES (:row, CAST(:words AS tsvector)))"
            " INSERT INTO search_classes (segment_id, score, name)"
            " SELECT :row, * FROM unnest(CAST(:scores AS real[]), CAST(:names AS text[]))"
        ),
        {
            **values,
            "row": row,
            "words": tsvector(document.searchable),
            "names": list(document.class_scores()),
            "scores": list(document.class_scores().values()),
        },
    )
    if look := _usable(document.look):
        connection.execute(
            text(
                "INSERT INTO search_looks (segment_id, space, dims, vector) VALUES (:row, :space, :dims, CAST(:vector AS halfvec))"
            ),
            {"row": row, "space": look.space, "dims": len(look.vector), "vector": vector_text(look.vector)},
        )
    return int(row)


def _usable(look: Look | None) -> Look | None:
    """A vector that can be compared. One that cannot must not keep its segment from being stored."""
    if look is None or (look.vector and np.isfinite(look.vector).all() and np.any(look.vector)):
        return look
    log.warning("search.vector_unusable", space=look.space, dims=len(look.vector))
    return None

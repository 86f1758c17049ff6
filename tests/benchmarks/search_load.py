"""Fills a store with drawn segments, past the pipeline and in bulk; what lies in the tables is what the indexer would write."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, text

from orchestrator.adapters.search.writing import sqlite_words, tsvector
from orchestrator.adapters.stores.codec import encode
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.schema import analyses, segments
from orchestrator.core.documents import Document, dump
from orchestrator.core.jobs import AnalysisSpec, SourceKind, SourceRef
from tests.benchmarks.search_corpus import PER_ANALYSIS, SPACE, Chunk

TENANTS = 10
_SPEC = encode(AnalysisSpec, AnalysisSpec(SourceRef(SourceKind.PATH, "clip.mp4", 1)))
_INDEXES = (
    "ix_search_words",
    "ix_search_classes_best",
    "ix_search_meanings_vector",
    "ix_search_looks_vector",
)
_COPY_HEAD = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
_COPY_END = struct.pack("!h", -1)


def load_sqlite(database: Database, chunk: Chunk) -> None:
    """Insert a chunk; row numbers are those of the segments, from 1."""

    def work(sql: Connection) -> None:
        _insert_analyses(sql, chunk)
        rows = [{**row, "words": sqlite_words(line.text for line in d.lines)} for row, d in _rows(chunk)]
        sql.execute(
            text(
                "INSERT INTO search_segments VALUES (:id, :analysis_id, :number, 0, :end_ns, '1/1000000000', :moderation,"
                " :has_face, :document, :words)"
            ),
            rows,
        )
        sql.execute(text("INSERT INTO search_words (rowid, words) VALUES (:id, :words)"), rows)
        for table, vectors in (("search_looks", chunk.looks), ("search_meanings", chunk.meanings)):
            sql.execute(
                text(f"INSERT INTO {table} (segment_id, space, vector) VALUES (:row, :space, :vector)"),
                [
                    {"row": chunk.first + at + 1, "space": SPACE, "vector": vector.astype("<f4").tobytes()}
                    for at, vector in enumerate(vectors)
                ],
            )

    database.write_now(work)


def drop_indexes(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Remove the indexes that are cheaper to build than to grow; returns how to build them."""
    found = dict(
        connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE indexname = ANY(%s)", (list(_INDEXES),)
        ).fetchall()
    )
    for name in found:
        connection.execute(f"DROP INDEX {name}")  # type: ignore[call-overload]
    return found


def load_postgres(database: Database, connection: psycopg.Connection[Any], chunk: Chunk) -> None:
    """Insert a chunk; row numbers are those of the segments, from 1."""
    database.write_now(lambda sql: _insert_analyses(sql, chunk))
    rows = list(_rows(chunk))
    with connection.cursor() as cursor:
        columns = (
            "id",
            "analysis_id",
            "number",
            "start_ns",
            "end_ns",
            "time_base",
            "moderation",
            "has_face",
            "document",
        )
        _copy(cursor, "search_segments", columns, (row for row, _ in rows))
        columns = ("segment_id", "create_us", "duration_ns", "moderation", "has_face", "tenant")
        filters = ({**row, "segment_id": row["id"], "duration_ns": row["end_ns"]} for row, _ in rows)
        _copy(cursor, "search_filters", columns, filters)
        words = ({"segment_id": row["id"], "words": tsvector(document.searchable)} for row, document in rows)
        _copy(cursor, "search_words", ("segment_id", "words"), words)
        classes = (
            {"segment_id": row["id"], "score": score, "name": name}
            for row, document in rows
            for name, score in document.class_scores().items()
        )
        _copy(cursor, "search_classes", ("segment_id", "score", "name"), classes)
        ids = np.arange(chunk.first + 1, chunk.first + 1 + len(chunk.documents))
        with cursor.copy("COPY search_meanings (segment_id, space, vector) FROM STDIN (FORMAT binary)") as copy:
            copy.write(_COPY_HEAD + _records(ids, chunk.meanings, 3) + _COPY_END)
        with cursor.copy("COPY search_looks (segment_id, space, vector, dims) FROM STDIN (FORMAT binary)") as copy:
            copy.write(_COPY_HEAD + _records(ids, chunk.looks, 4) + _COPY_END)
    connection.commit()


def _copy(
    cursor: psycopg.Cursor[Any], table: str, columns: Sequence[str], rows: Iterable[Mapping[str, object]]
) -> None:
    with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:  # type: ignore[arg-type]
        for row in rows:
            copy.write_row([row[name] for name in columns])


def _records(ids: NDArray[np.int64], vectors: NDArray[np.float32], columns: int) -> bytes:
    """Rows as binary COPY reads them: (id, space, halfvec[, dims])."""
    dims = vectors.shape[1]
    fields: list[Any] = [
        ("fields", ">i2"),
        ("id_size", ">i4"),
        ("id", ">i8"),
        ("space_size", ">i4"),
        ("space", f"S{len(SPACE)}"),
    ]
    fields += [("vector_size", ">i4"), ("dims", ">i2"), ("unused", ">i2"), ("vector", ">f2", (dims,))]
    if columns == 4:
        fields += [("column_size", ">i4"), ("column", ">i4")]
    rows = np.zeros(len(ids), fields)
    rows["fields"], rows["id_size"], rows["id"] = columns, 8, ids
    rows["space_size"], rows["space"] = len(SPACE), SPACE.encode()
    rows["vector_size"], rows["dims"], rows["vector"] = 4 + 2 * dims, dims, vectors
    if columns == 4:
        rows["column_size"], rows["column"] = 4, dims
    return rows.tobytes()


def _insert_analyses(sql: Connection, chunk: Chunk) -> None:
    numbers = range(chunk.first // PER_ANALYSIS, (chunk.first + len(chunk.documents)) // PER_ANALYSIS)
    sql.execute(
        insert(analyses),
        [
            {
                "id": f"a{number}",
                "tenant": f"t{number % TENANTS}",
                "spec": _SPEC,
                "source_kind": "PATH",
                "source_name": "clip.mp4",
                "priority": 0,
                "state": "SUCCEEDED",
                "create_us": number * 1_000_000,
                "attempts": 1,
                "strikes": 0,
                "interruptions": 0,
                "segments": PER_ANALYSIS,
                "last_sequence": PER_ANALYSIS + 2,
                "upload_committed": 0,
                "upload_complete": False,
                "cancel_requested": False,
                "whole": True,
                "lease_token": 1,
                "beats": 0,
            }
            for number in numbers
        ],
    )
    places = [
        {
            "analysis_id": f"a{number}",
            "number": at,
            "start_frame": at,
            "end_frame": at + 1,
            "start_pts": at,
            "end_pts": at + 1,
            "final": False,
        }
        for number in numbers
        for at in range(PER_ANALYSIS)
    ]
    sql.execute(insert(segments), places)


def _rows(chunk: Chunk) -> Iterator[tuple[dict[str, Any], Document]]:
    for at, document in enumerate(chunk.documents):
        number = chunk.first + at
        yield (
            {
                "id": number + 1,
                "analysis_id": f"a{number // PER_ANALYSIS}",
                "number": number % PER_ANALYSIS,
                "tenant": f"t{number // PER_ANALYSIS % TENANTS}",
                "create_us": number // PER_ANALYSIS * 1_000_000,
                "start_ns": 0,
                "end_ns": int(chunk.durations[at]),
                "time_base": "1/1000000000",
                "moderation": document.moderation,
                "has_face": document.has_face,
                "document": dump(document),
            },
            document,
        )

"""The tables of search as SQLAlchemy sees them, and what both databases do alike. Migration 0002 makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    select,
)

from orchestrator.adapters.stores.schema import segments as stored_segments
from orchestrator.core.documents import Document, load
from orchestrator.core.searching import SegmentRef
from orchestrator.core.timeline import Interval
from orchestrator.errors import NotFound
from orchestrator.pipeline.search_ports import FoundSegment

METADATA = MetaData()

search_segments = Table(
    "search_segments",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("analysis_id", Text),
    Column("number", Integer),
    Column("start_ns", Integer),
    Column("end_ns", Integer),
    Column("time_base", Text),
    Column("moderation", Float),
    Column("has_face", Boolean),
    Column("document", Text),
)

search_meanings = Table(
    "search_meanings",
    METADATA,
    Column("mark", Integer, primary_key=True),
    Column("segment_id", Integer),
    Column("space", Text),
    Column("vector", LargeBinary),
)

search_looks = Table(
    "search_looks",
    METADATA,
    Column("segment_id", Integer, primary_key=True),
    Column("space", Text),
    Column("vector", LargeBinary),
)

search_todo = Table("search_todo", METADATA, Column("segment_id", Integer, primary_key=True))

_FOUND = (
    select(
        search_segments,
        stored_segments.c.start_frame,
        stored_segments.c.end_frame,
        stored_segments.c.start_pts,
        stored_segments.c.end_pts,
    )
    .join(
        stored_segments,
        and_(
            stored_segments.c.analysis_id == search_segments.c.analysis_id,
            stored_segments.c.number == search_segments.c.number,
        ),
    )
    .where(search_segments.c.id.in_(bindparam("rows", expanding=True)))
)
_DOCUMENTS = select(
    search_segments.c.id, search_segments.c.document, search_segments.c.has_face, search_segments.c.moderation
)


def found(connection: Connection, rows: Sequence[int]) -> dict[int, FoundSegment]:
    """The segments of ``rows``."""
    return {
        row.id: FoundSegment(
            SegmentRef(row.analysis_id, row.number),
            Interval(row.start_frame, row.end_frame, row.start_pts, row.end_pts),
            row.start_ns,
            row.end_ns,
            Fraction(row.time_base),
            load(row.document, row.has_face, row.moderation),
        )
        for row in connection.execute(_FOUND, {"rows": list(rows)})
    }


def documents(connection: Connection, rows: Iterable[int]) -> dict[int, Document]:
    """The documents of ``rows``, in their order."""
    wanted = [int(row) for row in rows]
    read = _read_documents(connection, _DOCUMENTS.where(search_segments.c.id.in_(wanted)))
    return {row: read[row] for row in wanted if row in read}


def unread(connection: Connection, limit: int) -> dict[int, Document]:
    """The documents of the oldest rows that wait for a vector."""
    waiting = _DOCUMENTS.join(search_todo, search_todo.c.segment_id == search_segments.c.id)
    return _read_documents(connection, waiting.order_by(search_segments.c.id).limit(limit))


def take_from_todo(connection: Connection, rows: Iterable[int]) -> list[int]:
    """Those of ``rows`` that are still stored; none of them waits for a vector any more. Each of them is locked, so that no
    deletion comes between."""
    wanted = list(rows)
    query = select(search_segments.c.id).where(search_segments.c.id.in_(wanted))
    there = list(connection.scalars(query.with_for_update(read=True, key_share=True)))
    connection.execute(delete(search_todo).where(search_todo.c.segment_id.in_(wanted)))
    return there


def put_back(connection: Connection, space: str) -> int:
    """Let every row with a vector of another space wait for one of its own; returns how many."""
    spaces = connection.execute(select(func.min(search_meanings.c.space), func.max(search_meanings.c.space))).one()
    if set(spaces) <= {space, None}:
        return 0
    others = select(search_meanings.c.segment_id).where(search_meanings.c.space != space)
    rows = list(connection.scalars(others))
    connection.execute(delete(search_meanings).where(search_meanings.c.space != space))
    if rows:
        connection.execute(search_todo.insert(), [{"segment_id": row} for row in rows])
    return len(rows)


def row_of(connection: Connection, ref: SegmentRef) -> int:
    """The row of a segment. Raises ``NotFound``."""
    query = select(search_segments.c.id).where(
        search_segments.c.analysis_id == ref.analysis_id, search_segments.c.number == ref.index
    )
    row: int | None = connection.execute(query).scalar_one_or_none()
    if row is None:
        raise NotFound("no such segment", analysis_id=ref.analysis_id, segment_index=ref.index)
    return row


def _read_documents(
    connection: Connection, query: Select[tuple[int, str, bool | None, float | None]]
) -> dict[int, Document]:
    return {row.id: load(row.document, row.has_face, row.moderation) for row in connection.execute(query)}

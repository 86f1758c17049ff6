"""The shared index: words and classes in GIN, vectors in pgvector's HNSW.

Every query looks at a bounded number of rows, however many match: of words those newest first, of a class those with
the highest tenths of its score, of vectors what HNSW walks over, or all of them behind a filter that few rows pass. The
price is that neighbours may be missed. ``ops/performance.md`` has how many, and how long queries take at a million segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from orchestrator.adapters.search import tables
from orchestrator.adapters.search.writing import vector_text
from orchestrator.adapters.stores.codec import to_us
from orchestrator.adapters.stores.database import Database
from orchestrator.core.documents import Document, class_name
from orchestrator.core.ranking import DEPTH, Mark
from orchestrator.core.searching import SearchFilter, SegmentRef
from orchestrator.core.words import Phrase
from orchestrator.errors import FailedPrecondition
from orchestrator.pipeline.search_ports import FoundSegment

Floats = NDArray[np.float32]
Values = dict[str, object]
FILTERED_DEPTH = 100  # neighbours behind a filter: each may cost many that do not pass it
FEW = 2000  # rows behind a filter that are compared one by one


class PostgresSearchIndex:
    """Implements ``SearchIndex`` on PostgreSQL with pgvector."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- what searches ask ---

    async def mark(self) -> Mark:
        """See the port."""
        query = text(
            "SELECT (SELECT coalesce(max(id), 0) FROM search_segments) AS segments,"
            " (SELECT coalesce(max(mark), 0) FROM search_meanings) AS meanings"
        )
        row = await self._database.read(lambda sql: sql.execute(query).one())
        return Mark(row.segments, row.meanings)

    async def holding(self, asked: Sequence[Phrase], where: SearchFilter, mark: Mark) -> Mapping[int, Document]:
        """See the port."""
        clause, values = _clause(where, mark)

        def work(sql: Connection) -> Mapping[int, Document]:
            _plan_anew(sql)
            rows: dict[int, None] = {}

            def take(condition: str, order: str = "", **more: object) -> None:
                query = f"SELECT s.id FROM search_segments s WHERE {condition} AND {clause} {order} LIMIT :limit"
                found = sql.execute(text(query), {**values, **more, "limit": DEPTH}).scalars()
                rows.update(dict.fromkeys(found))

            if len(asked) == 1:
                name = class_name(" ".join(asked[0].words))
                take("s.classes @> CAST(:terms AS text[])", terms=[f"{name}@0"])
                if len(rows) == DEPTH:  # there are more: those with the highest scores instead
                    rows.clear()
                    for tenth in range(9, -1, -1):
                        if len(rows) < DEPTH:
                            take("s.classes @> CAST(:terms AS text[])", terms=[f"{name}@{tenth}"])
            for operator in (" & ", " | "):
                if len(rows) < DEPTH:
                    take(
                        "s.words @@ CAST(:asked AS tsquery)",
                        "ORDER BY s.id DESC",
                        asked=operator.join(map(_tsquery, asked)),
                    )
            return tables.documents(sql, list(rows)[: 2 * DEPTH])

        return await self._database.read(work)

    async def meaning(self, space: str, vector: Floats, where: SearchFilter, mark: Mark) -> Mapping[int, float]:
        """See the port."""
        near = _Near(
            "search_meanings",
            "v.vector <#> CAST(:vector AS halfvec(384))",
            "v.space = :space AND v.mark <= :meanings",
            {"space": space, "vector": vector_text(vector), "meanings": mark.meanings},
        )
        return await self._database.read(lambda sql: _nearest(sql, near, where, mark))

    async def look(self, like: SegmentRef, where: SearchFilter, mark: Mark) -> Mapping[int, float]:
        """See the port."""

        def work(sql: Connection) -> Mapping[int, float]:
            row = tables.row_of(sql, like)
            stored = text("SELECT space, CAST(vector AS text) AS vector FROM search_looks WHERE segment_id = :row")
            found = sql.execute(stored, {"row": row}).one_or_none()
            if found is None:
                raise FailedPrecondition("this segment has no image vector: the analyzer `similarity` did not run")
            size = found.vector.count(",") + 1
            near = _Near(
                "search_looks",
                f"CAST(v.vector AS halfvec({size})) <#> CAST(:vector AS halfvec({size}))",
                f"v.dims = {size} AND v.space = :space AND v.segment_id <> :row",
                {"row": row, "space": found.space, "vector": found.vector},
            )
            return _nearest(sql, near, where, mark)

        return await self._database.read(work)

    async def newest(self, where: SearchFilter, mark: Mark, below: int | None, limit: int) -> Sequence[int]:
        """See the port."""
        clause, values = _clause(where, mark)
        if below is not None:
            clause, values = f"{clause} AND s.id < :below", {**values, "below": below}
        query = text(f"SELECT s.id FROM search_segments s WHERE {clause} ORDER BY s.id DESC LIMIT :limit")
        return await self._database.read(lambda sql: sql.execute(query, {**values, "limit": limit}).scalars().all())

    async def found(self, rows: Sequence[int]) -> Mapping[int, FoundSegment]:
        """See the port."""
        return await self._database.read(lambda sql: tables.found(sql, rows))

    # --- what makes texts findable by their meaning ---

    async def unread(self, limit: int) -> Mapping[int, Document]:
        """See the port."""
        return await self._database.read(lambda sql: tables.unread(sql, limit))

    async def learn(self, space: str, vectors: Mapping[int, Floats]) -> None:
        """See the port."""
        insert = text(
            "INSERT INTO search_meanings (segment_id, space, vector) VALUES (:row, :space, CAST(:vector AS halfvec))"
            " ON CONFLICT (segment_id) DO UPDATE SET space = excluded.space, vector = excluded.vector"
        )

        def work(sql: Connection) -> None:
            there = tables.take_from_todo(sql, vectors)
            if there:
                sql.execute(
                    insert, [{"row": row, "space": space, "vector": vector_text(vectors[row])} for row in there]
                )

        await self._database.write(work)

    async def forget_other(self, space: str) -> int:
        """See the port."""
        return await self._database.write(lambda sql: tables.put_back(sql, space))


@dataclass(frozen=True, slots=True)
class _Near:
    """Which vectors are compared, and how: ``distance`` is what the table's HNSW index is ordered by."""

    table: str
    distance: str
    condition: str
    values: Values


def _nearest(sql: Connection, near: _Near, where: SearchFilter, mark: Mark) -> dict[int, float]:
    """Compare every row behind a filter that few pass. Otherwise walk twice ``DEPTH`` neighbours, and on while the filter
    leaves fewer than are wanted."""
    clause, values = _clause(where, mark)
    values |= near.values
    _plan_anew(sql)
    chosen, join, order, limit = "v.segment_id <= :segments", "", near.distance, DEPTH
    if where != SearchFilter():
        few = text(f"SELECT s.id FROM search_segments s WHERE {clause} LIMIT {FEW + 1}")
        rows = sql.execute(few, values).scalars().all()
        limit = FILTERED_DEPTH
        if len(rows) <= FEW:
            values["rows"] = list(rows)
            chosen, order, limit = "v.segment_id = ANY(CAST(:rows AS bigint[]))", "cosine DESC", DEPTH
        else:
            chosen, join = clause, "JOIN search_segments s ON s.id = v.segment_id"
            # Left to itself the planner believes a sort of all that pass to be cheaper than the walk.
            for step in ("sort", "hashjoin", "mergejoin"):
                sql.execute(text(f"SET LOCAL enable_{step} = off"))
    sql.execute(text(f"SET LOCAL hnsw.ef_search = {2 * DEPTH}"))
    sql.execute(text("SET LOCAL hnsw.iterative_scan = relaxed_order"))
    query = (
        f"SELECT v.segment_id, -({near.distance}) AS cosine FROM {near.table} v {join}"
        f" WHERE {near.condition} AND {chosen} ORDER BY {order} LIMIT {limit}"
    )
    return {row.segment_id: row.cosine for row in sql.execute(text(query), values)}


def _plan_anew(sql: Connection) -> None:
    """How common a word or class is decides how to find it, so no plan is kept for the next one."""
    sql.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))


def _tsquery(phrase: Phrase) -> str:
    return "(" + " <-> ".join(f"'{word}'" for word in phrase.stems) + ")"


def _clause(where: SearchFilter, mark: Mark) -> tuple[str, Values]:
    """The filter as a condition on ``search_segments s``, and its values."""
    parts, values = ["s.id <= :segments"], Values(segments=mark.segments)
    if where.analysis_ids:
        parts.append("s.analysis_id = ANY(CAST(:analysis_ids AS text[]))")
        values["analysis_ids"] = list(where.analysis_ids)
    for name, condition, value in (
        ("tenant", "s.tenant = :tenant", where.tenant),
        ("created_after", "s.create_us >= :created_after", where.created_after and to_us(where.created_after)),
        ("created_before", "s.create_us < :created_before", where.created_before and to_us(where.created_before)),
        ("has_face", "s.has_face = :has_face", where.has_face),
        ("min_moderation", "s.moderation >= CAST(:min_moderation AS real)", where.min_moderation),
        ("max_moderation", "s.moderation <= CAST(:max_moderation AS real)", where.max_moderation),
        ("min_duration", "s.end_ns - s.start_ns >= :min_duration", where.min_duration_ns),
        ("max_duration", "s.end_ns - s.start_ns <= :max_duration", where.max_duration_ns),
    ):
        if value is not None:
            parts.append(condition)
            values[name] = value
    for at, (label, value) in enumerate(where.labels):
        parts.append(
            "EXISTS (SELECT 1 FROM labels l WHERE l.analysis_id = s.analysis_id"
            f" AND l.name = :label_{at} AND l.value = :value_{at})"
        )
        values |= {f"label_{at}": label, f"value_{at}": value}
    if where.classes:
        tenth = max(0, int(where.min_score * 10 - 1e-3))
        names = [class_name(name) for name in where.classes]
        parts.append("s.classes @> CAST(:classes AS text[])")
        values["classes"] = [f"{name}@{tenth}" for name in names]
        for at, name in enumerate(names):
            parts.append(f"CAST(s.scores ->> :class_{at} AS real) >= CAST(:min_score AS real)")
            values[f"class_{at}"] = name
        values["min_score"] = where.min_score
    return " AND ".join(parts), values

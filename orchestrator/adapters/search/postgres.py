"""The shared index: words in GIN, classes in a B-tree by score, vectors in pgvector's HNSW, filters in a narrow table.

Every query looks at a bounded number of rows, however many match. Behind a filter that few rows pass, those are all that
is looked at. Else it is the newest of words, the highest scores of a class, and of vectors what HNSW walks over; then
neighbours may be missed. ``ops/performance.md`` has how many, and how long queries take at a million segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

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
FEW = 2000  # rows behind a filter that are looked at one by one
FAR = 20_000  # rows in some order (the newest, the best scores) that are looked at for those that pass a filter
_AMONG = "segment_id = ANY(CAST(:rows AS bigint[]))"
_UNORDERED = ("sort", "hashjoin", "mergejoin")
"""Steps that have all that pass before the first; the planner believes them to be cheaper than a walk in an index's order."""


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

        def work(sql: Connection) -> Mapping[int, Document]:
            passing = _Passing.of(sql, where, mark)
            rows: dict[int, None] = {}
            if len(asked) == 1:
                rows.update(dict.fromkeys(_best(sql, class_name(" ".join(asked[0].words)), passing)))
            for operator in (" & ", " | "):
                if len(rows) < DEPTH:
                    rows.update(dict.fromkeys(_newest(sql, operator.join(map(_tsquery, asked)), passing)))
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
        return await self._database.read(lambda sql: _nearest(sql, near, _Passing.of(sql, where, mark)))

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
            return _nearest(sql, near, _Passing.of(sql, where, mark))

        return await self._database.read(work)

    async def newest(self, where: SearchFilter, mark: Mark, below: int | None, limit: int) -> Sequence[int]:
        """See the port."""
        clause, values = _clause(where, mark)
        if below is not None:
            clause, values = f"{clause} AND f.segment_id < :below", {**values, "below": below}
        query = text(f"SELECT segment_id FROM search_filters f WHERE {clause} ORDER BY segment_id DESC LIMIT :limit")
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


@dataclass(frozen=True, slots=True)
class _Passing:
    """What passes a filter: ``rows``, newest first, are all of it unless there are ``more``, and then some of the newest;
    without a filter ``rows`` is ``None``. ``clause`` is the filter as a condition on ``search_filters f``."""

    rows: list[int] | None
    more: bool
    clause: str
    values: Values

    @classmethod
    def of(cls, sql: Connection, where: SearchFilter, mark: Mark) -> _Passing:
        clause, values = _clause(where, mark)
        # How common a word, class or tenant is decides how to find it, so no plan is kept for the next one. One process
        # answers: several would be started for milliseconds of work.
        sql.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
        sql.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
        if where == SearchFilter():
            return cls(None, True, clause, values)
        query = f"SELECT segment_id FROM search_filters f WHERE {clause} {{}} ORDER BY segment_id DESC LIMIT {FEW + 1}"
        recent = text(query.format(f"AND f.segment_id > :segments - {FAR}"))
        with _without(sql, *_UNORDERED):
            rows = list(sql.execute(recent, values).scalars())
        if len(rows) > FEW or len(rows) * mark.segments > 2 * FEW * FAR:  # many pass, or it seems so
            return cls(rows, True, clause, values)
        if mark.segments > FAR:
            rows = list(sql.execute(text(query.format("")), values).scalars())
        return cls(rows, len(rows) > FEW, clause, values)

    def all(self, sql: Connection) -> _Passing:
        """The newest of what passes, as if there were no more: for when that many did not pass after all."""
        query = f"SELECT segment_id FROM search_filters f WHERE {self.clause} ORDER BY segment_id DESC LIMIT {FAR}"
        return replace(self, rows=list(sql.execute(text(query), self.values).scalars()), more=False)


def _best(sql: Connection, name: str, passing: _Passing) -> list[int]:
    """Rows with the highest scores of a class."""
    values = {**passing.values, "name": name, "rows": passing.rows}
    order = "ORDER BY score DESC, segment_id DESC LIMIT"
    if not passing.more:
        query = f"SELECT segment_id FROM search_classes WHERE name = :name AND {_AMONG} {order} {DEPTH}"
    else:
        query = f"SELECT score, segment_id FROM search_classes WHERE name = :name AND segment_id <= :segments {order}"
        if passing.rows is None:
            query = f"SELECT segment_id FROM ({query} {DEPTH}) best"
        else:
            query = (
                f"SELECT segment_id FROM ({query} {FAR}) best JOIN search_filters f USING (segment_id)"
                f" WHERE {passing.clause} {order} {DEPTH}"
            )
    with _without(sql, *_UNORDERED):
        rows = list(sql.execute(text(query), values).scalars())
    short = passing.more and passing.rows is not None and len(rows) < DEPTH
    return _best(sql, name, passing.all(sql)) if short else rows


def _newest(sql: Connection, asked: str, passing: _Passing) -> list[int]:
    """The newest rows with the words of a tsquery."""
    values = {**passing.values, "asked": asked, "rows": passing.rows}
    holds, order = "words @@ CAST(:asked AS tsquery)", f"ORDER BY segment_id DESC LIMIT {DEPTH}"
    among = _AMONG
    if passing.rows is None:
        among = f"segment_id > :segments - {FEW} AND segment_id <= :segments"
    recent = f"SELECT segment_id FROM search_words WHERE {among} AND {holds} {order}"
    rows = list(sql.execute(text(recent), values).scalars())
    if len(rows) == DEPTH or not passing.more:
        return rows
    looked_at = FEW if passing.rows is None else len(passing.rows)
    if len(rows) * FAR >= 2 * DEPTH * looked_at:  # frequent: go on from the newest row until there are enough
        source = "search_words f" if passing.rows is None else "search_words JOIN search_filters f USING (segment_id)"
        walk = f"SELECT segment_id FROM {source} WHERE {passing.clause} AND {holds} {order}"
        with _without(sql, *_UNORDERED, "bitmapscan", "seqscan"):
            return list(sql.execute(text(walk), values).scalars())
    # Rare: look up all that the index has.
    found = f"SELECT segment_id FROM search_words WHERE segment_id <= :segments AND {holds} ORDER BY segment_id DESC"
    with _without(sql, "indexscan", "seqscan"):
        rows = list(sql.execute(text(f"{found} LIMIT {DEPTH if passing.rows is None else FAR}"), values).scalars())
    if passing.rows is None:
        return rows
    passed = f"SELECT segment_id FROM search_filters f WHERE {_AMONG} AND {passing.clause} {order}"
    with _without(sql, *_UNORDERED):
        return list(sql.execute(text(passed), {**values, "rows": rows}).scalars())


def _nearest(sql: Connection, near: _Near, passing: _Passing) -> dict[int, float]:
    """Compare every row behind a filter that few pass. Otherwise walk twice ``DEPTH`` neighbours, and on while the filter
    leaves fewer than are wanted; if too few come of that, compare the newest ``FAR`` that pass one by one."""
    values = {**passing.values, **near.values, "rows": passing.rows}
    chosen, join, order, limit = "v.segment_id <= :segments", "", near.distance, DEPTH
    if not passing.more:
        chosen, order = _AMONG, "cosine DESC"
    elif passing.rows is not None:
        chosen, join, limit = passing.clause, "JOIN search_filters f USING (segment_id)", FILTERED_DEPTH
    sql.execute(text(f"SET LOCAL hnsw.ef_search = {2 * DEPTH}"))
    sql.execute(text("SET LOCAL hnsw.iterative_scan = relaxed_order"))
    query = (
        f"SELECT segment_id, -({near.distance}) AS cosine FROM {near.table} v {join}"
        f" WHERE {near.condition} AND {chosen} ORDER BY {order} LIMIT {limit}"
    )
    with _without(sql, *_UNORDERED) if join else nullcontext():
        found = {row.segment_id: row.cosine for row in sql.execute(text(query), values)}
    return _nearest(sql, near, passing.all(sql)) if join and len(found) < limit else found


@contextmanager
def _without(sql: Connection, *steps: str) -> Iterator[None]:
    """Have the planner do without ``steps``."""
    named = ", ".join(f"set_config('enable_{step}', :state, true)" for step in steps)
    sql.execute(text(f"SELECT {named}"), {"state": "off"})
    yield
    sql.execute(text(f"SELECT {named}"), {"state": "on"})


def _tsquery(phrase: Phrase) -> str:
    return "(" + " <-> ".join(f"'{word}'" for word in phrase.stems) + ")"


def _clause(where: SearchFilter, mark: Mark) -> tuple[str, Values]:
    """The filter as a condition on ``search_filters f``, and its values."""
    parts, values = ["f.segment_id <= :segments"], Values(segments=mark.segments)
    if where.analysis_ids:
        parts.append(
            "f.segment_id IN (SELECT id FROM search_segments WHERE analysis_id = ANY(CAST(:analysis_ids AS text[])))"
        )
        values["analysis_ids"] = list(where.analysis_ids)
    for name, condition, value in (
        ("tenant", "f.tenant = :tenant", where.tenant),
        ("created_after", "f.create_us >= :created_after", where.created_after and to_us(where.created_after)),
        ("created_before", "f.create_us < :created_before", where.created_before and to_us(where.created_before)),
        ("has_face", "f.has_face = :has_face", where.has_face),
        ("min_moderation", "f.moderation >= CAST(:min_moderation AS real)", where.min_moderation),
        ("max_moderation", "f.moderation <= CAST(:max_moderation AS real)", where.max_moderation),
        ("min_duration", "f.duration_ns >= :min_duration", where.min_duration_ns),
        ("max_duration", "f.duration_ns <= :max_duration", where.max_duration_ns),
    ):
        if value is not None:
            parts.append(condition)
            values[name] = value
    for at, (label, value) in enumerate(where.labels):
        parts.append(
            "f.segment_id IN (SELECT s.id FROM labels l JOIN search_segments s USING (analysis_id)"
            f" WHERE l.name = :label_{at} AND l.value = :value_{at})"
        )
        values |= {f"label_{at}": label, f"value_{at}": value}
    for at, name in enumerate(where.classes):
        parts.append(
            "EXISTS (SELECT 1 FROM search_classes c WHERE c.segment_id = f.segment_id"
            f" AND c.name = :class_{at} AND c.score >= CAST(:min_score AS real))"
        )
        values |= {f"class_{at}": class_name(name), "min_score": where.min_score}
    return " AND ".join(parts), values

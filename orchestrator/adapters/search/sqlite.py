"""The embedded index: words in FTS5; filters, classes and vectors in memory, loaded from the database.

It finds exactly what an exhaustive comparison would find (:mod:`orchestrator.core.vectors`). Memory per 100,000
segments: about 310 MB for image vectors of 1280 dimensions, 130 MB for those of texts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, bindparam, text

from orchestrator.adapters.search import tables
from orchestrator.adapters.search.mirror import AnalysisFacts, Mirror, MirrorRow, VectorMirror
from orchestrator.adapters.search.writing import ascii_word
from orchestrator.adapters.stores.database import Database
from orchestrator.core.documents import Document, load_classes
from orchestrator.core.ranking import DEPTH, Mark
from orchestrator.core.searching import SearchFilter, SegmentRef
from orchestrator.core.vectors import Floats
from orchestrator.core.words import Phrase
from orchestrator.errors import FailedPrecondition
from orchestrator.pipeline.search_ports import FoundSegment

T = TypeVar("T")
_AT_ONCE = 2000  # rows loaded at a time
_TEXT_SCORE = 0.95  # of a line that holds a phrase, when candidates are chosen; then its own counts
_MOST_COMMON = 20_000  # lines looked at of a phrase that is nearly everywhere: the newest ones

_SEGMENTS = text(
    "SELECT id, analysis_id, end_ns - start_ns AS duration_ns, moderation, has_face, document FROM search_segments"
    " WHERE id > :after ORDER BY id LIMIT :limit"
)
_ANALYSES = text("SELECT id, tenant, create_us FROM analyses WHERE id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_LABELS = text("SELECT analysis_id, name, value FROM labels WHERE analysis_id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_MEANINGS = text(
    "SELECT mark, segment_id, space, vector FROM search_meanings WHERE mark > :after ORDER BY mark LIMIT :limit"
)
_LOOKS = text(
    "SELECT segment_id AS mark, segment_id, space, vector FROM search_looks WHERE segment_id > :after"
    " ORDER BY segment_id LIMIT :limit"
)
_FETCH = {
    table: text(f"SELECT segment_id, vector FROM {table} WHERE segment_id IN :ids").bindparams(
        bindparam("ids", expanding=True)
    )
    for table in ("search_meanings", "search_looks")
}
_MATCHING = text("SELECT rowid FROM search_words WHERE search_words MATCH :query ORDER BY rowid DESC LIMIT :limit")


class SqliteSearchIndex:
    """Implements ``SearchIndex`` on the database of the embedded store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()  # one reader of the store at a time is enough, and leaves the others to others
        self._lock = threading.Lock()  # a thread goes on when whoever awaited it was cancelled
        self._mirror = Mirror()
        self._numbers: dict[str, int] = {}  # of analyses in the mirror
        self._meanings: dict[str, VectorMirror] = {}
        self._looks: dict[str, VectorMirror] = {}
        self._last_meaning = self._last_look = 0

    # --- what searches ask ---

    async def mark(self) -> Mark:
        """See the port."""
        await self._forget()
        return await self._current(
            lambda sql: Mark(int(self._mirror.ids[-1]) if len(self._mirror.ids) else 0, self._last_meaning)
        )

    async def holding(self, asked: Sequence[Phrase], where: SearchFilter, mark: Mark) -> Mapping[int, Document]:
        """See the port."""

        def work(sql: Connection) -> Mapping[int, Document]:
            wanted = self._mirror.mask(where, mark)
            limit = _MOST_COMMON if where == SearchFilter() else -1
            total = np.zeros(len(wanted), np.float32)
            for phrase in asked:
                best = self._mirror.class_scores(phrase)
                best[self._lines_with(sql, phrase, limit)] = _TEXT_SCORE
                total += np.where(best > 0, 1 + best, 0)
            total[~wanted] = 0
            places = np.flatnonzero(total)
            best_first = places[np.lexsort((-places, -total[places]))][:DEPTH]
            return tables.documents(sql, self._mirror.ids[best_first].tolist())

        return await self._current(work)

    async def meaning(self, space: str, vector: Floats, where: SearchFilter, mark: Mark) -> Mapping[int, float]:
        """See the port."""

        def work(sql: Connection) -> Mapping[int, float]:
            index = self._meanings.get(space)
            if index is None or index.dims != len(vector):
                return {}
            return index.nearest(
                vector,
                DEPTH,
                _fetcher(sql, "search_meanings", index.dims),
                self._mirror.mask(where, mark),
                mark.meanings,
            )

        return await self._current(work)

    async def look(self, like: SegmentRef, where: SearchFilter, mark: Mark) -> Mapping[int, float]:
        """See the port."""

        def work(sql: Connection) -> Mapping[int, float]:
            row = tables.row_of(sql, like)
            query = text("SELECT space, vector FROM search_looks WHERE segment_id = :row")
            found = sql.execute(query, {"row": row}).one_or_none()
            if found is None:
                raise FailedPrecondition("this segment has no image vector: the analyzer `similarity` did not run")
            vector = np.frombuffer(found.vector, "<f4")
            fetch = _fetcher(sql, "search_looks", len(vector))
            index = self._looks.get(_space(found.space, vector))
            if index is None:
                return {}
            wanted = self._mirror.mask(where, mark)
            near = index.nearest(vector, DEPTH + 1, fetch, wanted, mark.segments)
            near.pop(row, None)
            return dict(list(near.items())[:DEPTH])

        return await self._current(work)

    async def newest(self, where: SearchFilter, mark: Mark, below: int | None, limit: int) -> Sequence[int]:
        """See the port."""

        def work(_: Connection) -> Sequence[int]:
            wanted = self._mirror.mask(where, mark)
            if below is not None:
                wanted &= self._mirror.ids < below
            rows: list[int] = self._mirror.ids[np.flatnonzero(wanted)[::-1][:limit]].tolist()
            return rows

        return await self._current(work)

    async def found(self, rows: Sequence[int]) -> Mapping[int, FoundSegment]:
        """See the port."""
        return await self._database.read(lambda sql: tables.found(sql, rows))

    # --- what makes texts findable by their meaning ---

    async def unread(self, limit: int) -> Mapping[int, Document]:
        """See the port."""
        return await self._database.read(lambda sql: tables.unread(sql, limit))

    async def learn(self, space: str, vectors: Mapping[int, Floats]) -> None:
        """See the port."""

        def work(sql: Connection) -> None:
            there = tables.take_from_todo(sql, vectors)
            if there:
                sql.execute(
                    text(
                        "INSERT OR REPLACE INTO search_meanings (segment_id, space, vector) VALUES (:row, :space, :vector)"
                    ),
                    [
                        {"row": row, "space": space, "vector": np.asarray(vectors[row], "<f4").tobytes()}
                        for row in there
                    ],
                )

        await self._database.write(work)

    async def forget_other(self, space: str) -> int:
        """See the port."""
        return await self._database.write(lambda sql: tables.put_back(sql, space))

    # --- the mirror ---

    async def _current(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on one state of the database and a mirror that is up to it."""

        def locked(sql: Connection) -> T:
            with self._lock:
                self._refresh(sql)
                return work(sql)

        async with self._turn:
            return await self._database.read(locked)

    def _refresh(self, sql: Connection) -> None:
        while rows := self._after(sql, _SEGMENTS, int(self._mirror.ids[-1]) if len(self._mirror.ids) else 0):
            self._number(sql, {row.analysis_id for row in rows} - self._numbers.keys())
            self._mirror.add(
                [
                    MirrorRow(
                        row.id,
                        self._numbers[row.analysis_id],
                        row.duration_ns,
                        row.moderation,
                        None if row.has_face is None else bool(row.has_face),
                        load_classes(row.document),
                    )
                    for row in rows
                ]
            )
        while rows := self._after(sql, _MEANINGS, self._last_meaning):
            self._add_vectors(self._meanings, rows)
            self._last_meaning = rows[-1].mark
        while rows := self._after(sql, _LOOKS, self._last_look):
            self._add_vectors(self._looks, rows)
            self._last_look = rows[-1].mark
        for mirror in (*self._meanings.values(), *self._looks.values()):
            mirror.prepare()

    def _after(self, sql: Connection, query: object, last: int) -> Sequence[Row[tuple[object, ...]]]:
        return sql.execute(query, {"after": last, "limit": _AT_ONCE}).all()  # type: ignore[call-overload,no-any-return]

    def _number(self, sql: Connection, ids: set[str]) -> None:
        """Take in analyses that the mirror has not seen."""
        labels: dict[str, set[tuple[str, str]]] = {analysis_id: set() for analysis_id in ids}
        for row in sql.execute(_LABELS, {"ids": list(ids)}):
            labels[row.analysis_id].add((row.name, row.value))
        for row in sql.execute(_ANALYSES, {"ids": list(ids)}):
            self._numbers[row.id] = len(self._mirror.analyses)
            self._mirror.analyses.append(AnalysisFacts(row.id, row.tenant, row.create_us, frozenset(labels[row.id])))

    def _add_vectors(self, mirrors: dict[str, VectorMirror], rows: Sequence[Row[tuple[object, ...]]]) -> None:
        spaces: dict[str, list[tuple[int, int, NDArray[np.float32]]]] = {}
        for row in rows:
            vector = np.frombuffer(row.vector, "<f4")
            key = row.space if mirrors is self._meanings else _space(row.space, vector)
            spaces.setdefault(key, []).append((row.mark, row.segment_id, vector))
        for space, entries in spaces.items():
            marks, ids, vectors = zip(*entries, strict=True)
            places, _ = self._mirror.places(np.array(ids, np.int64))
            if space not in mirrors:
                mirrors[space] = VectorMirror(len(vectors[0]))
            mirrors[space].add(np.array(ids, np.int64), places, marks, np.stack(vectors))

    async def _forget(self) -> None:
        """Take deleted segments out of the words and of the mirror; this process is the only one that deletes."""
        query = text("SELECT id, words FROM search_forgotten LIMIT 10000")
        while gone := await self._database.read(lambda sql: sql.execute(query).all()):

            def work(sql: Connection, gone: Sequence[Row[tuple[int, str]]] = gone) -> None:
                rows = [{"row": row.id, "words": row.words} for row in gone]
                sql.execute(
                    text("INSERT INTO search_words (search_words, rowid, words) VALUES ('delete', :row, :words)"), rows
                )
                sql.execute(text("DELETE FROM search_forgotten WHERE id = :row"), rows)

            await self._database.write(work)
            with self._lock:
                self._mirror.drop([row.id for row in gone])

    def _lines_with(self, sql: Connection, phrase: Phrase, limit: int) -> NDArray[np.intp]:
        query = '"' + " ".join(ascii_word(word) for word in phrase.stems) + '"'
        cursor = sql.execute(_MATCHING, {"query": query, "limit": limit})
        places, there = self._mirror.places(np.array(cursor.scalars().all(), np.int64))
        return places[there]


def _fetcher(sql: Connection, table: str, dims: int) -> Callable[[NDArray[np.int64]], Floats]:
    def fetch(rows: NDArray[np.int64]) -> Floats:
        """Vectors of rows; zeros for one that was deleted meanwhile."""
        place = {row: at for at, row in enumerate(rows.tolist())}
        vectors = np.zeros((len(rows), dims), np.float32)
        for row, vector in sql.execute(_FETCH[table], {"ids": list(place)}):
            vectors[place[row]] = np.frombuffer(vector, "<f4")
        return vectors

    return fetch


def _space(space: str, vector: NDArray[np.float32]) -> str:
    return f"{space}/{len(vector)}"

"""Search: what is asked goes to the index by words, by meaning and by look; what comes back is ranked and explained.

The indexer gives each stored text its vector, after the fact and off the way of the analyses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from orchestrator.core.ranking import (
    LEAST_LIKENESS,
    Cursor,
    fuse,
    matches,
    read_token,
    strongest,
    word_score,
    write_token,
)
from orchestrator.core.results import ModelVersion
from orchestrator.core.searching import Hit, Match, MatchKind, SearchPage, SearchQuery
from orchestrator.core.words import Phrase, phrases
from orchestrator.errors import InvalidRequest, ReelsiftError
from orchestrator.pipeline.search_ports import FoundSegment, SearchIndex
from orchestrator.ports import Inference

MODEL = "text_embedding"
MOST_CHARACTERS = 1000  # of a query
MOST_HITS = 200  # of a page

Encode = Callable[[ModelVersion, str], NDArray[np.int32]]
"""A text as the tokens of a model: INT32 [1, length]."""

log = structlog.get_logger(__name__)


class Embedder:
    """Texts as unit vectors, FP32 [d]. The model is loaded when it is first needed."""

    def __init__(self, inference: Inference, encode: Encode) -> None:
        self._inference, self._encode = inference, encode

    async def space(self) -> str:
        """What vectors are comparable with those made now: the digest of the model. Raises ``InferenceUnavailable``."""
        await self._inference.ready([MODEL])
        return self._inference.version(MODEL).digest

    async def vector(self, text: str) -> NDArray[np.float32]:
        """The meaning of ``text``. Raises ``InferenceUnavailable``."""
        with self._inference.pinned("") as inference:  # tokens and vector of one version
            await inference.ready([MODEL])
            tokens = self._encode(inference.version(MODEL), text)
            outputs = await inference.infer(MODEL, {"tokens": tokens})
        return np.asarray(outputs["vector"][0], np.float32)


class SearchService:
    """Implements ``api.ports.Searches``."""

    def __init__(self, index: SearchIndex, embedder: Embedder) -> None:
        self._index, self._embedder = index, embedder
        self._space = ""

    async def search(self, query: SearchQuery, page_size: int, page_token: str = "") -> SearchPage:
        """A page of hits, best first; without a text or a segment to be like, newest first. A search by text or look goes
        ``DEPTH`` hits of each ranking deep.

        Raises ``InvalidRequest``, ``NotFound`` and ``FailedPrecondition`` for the segment to be like, ``InferenceUnavailable``.
        """
        _check(query, page_size)
        cursor = _cursor(page_token, query) if page_token else Cursor(await self._index.mark())
        if not query.text.strip() and query.like is None:
            return await self._newest(query, page_size, cursor)
        return await self._ranked(query, page_size, cursor)

    async def _newest(self, query: SearchQuery, page_size: int, cursor: Cursor) -> SearchPage:
        rows = await self._index.newest(query.filter, cursor.mark, cursor.below, page_size + 1)
        shown = rows[:page_size]
        found = await self._index.found(shown)
        hits = tuple(_hit(found[row], 0.0, ()) for row in shown if row in found)
        more = len(rows) > page_size
        return SearchPage(hits, write_token(Cursor(cursor.mark, below=shown[-1]), query) if more else "")

    async def _ranked(self, query: SearchQuery, page_size: int, cursor: Cursor) -> SearchPage:
        asked = phrases(query.text)
        by_words, by_meaning, by_look = await self._rankings(query, asked, cursor)
        ranked = fuse([by_words, by_meaning, by_look])
        shown = ranked[cursor.shown : cursor.shown + page_size]
        found = await self._index.found([row for row, _ in shown])
        hits = []
        for row, score in shown:
            if segment := found.get(row):
                reasons = [*matches(segment.document, asked)]
                reasons += [Match(MatchKind.MEANING, "", by_meaning[row])] if row in by_meaning else []
                reasons += [Match(MatchKind.LOOK, "", by_look[row])] if row in by_look else []
                hits.append(_hit(segment, score, tuple(sorted(reasons, key=lambda reason: -reason.score))))
        after = cursor.shown + page_size
        token = write_token(Cursor(cursor.mark, shown=after), query) if after < len(ranked) else ""
        return SearchPage(tuple(hits), token)

    async def _rankings(
        self, query: SearchQuery, asked: Sequence[Phrase], cursor: Cursor
    ) -> tuple[Mapping[int, float], Mapping[int, float], Mapping[int, float]]:
        where, mark = query.filter, cursor.mark
        by_words: Mapping[int, float] = {}
        by_meaning: Mapping[int, float] = {}
        by_look: Mapping[int, float] = {}
        if query.like is not None:
            by_look = strongest(await self._index.look(query.like, where, mark))
        if query.text.strip():
            near = await self._index.meaning(
                await self._current_space(), await self._embedder.vector(query.text), where, mark
            )
            by_meaning = {row: cosine for row, cosine in near.items() if cosine >= LEAST_LIKENESS}
        if asked:
            holding = await self._index.holding(asked, where, mark)
            by_words = strongest({row: word_score(document, asked) for row, document in holding.items()})
        return by_words, by_meaning, by_look

    async def _current_space(self) -> str:
        """The space of the model; when it is another than before, the vectors of others are to be made anew."""
        space = await self._embedder.space()
        if space != self._space:
            await self._index.forget_other(space)
            self._space = space
        return space


class Indexer:
    """Embeds stored texts that have no vector yet. What it was at when it was stopped, the next one does."""

    def __init__(self, index: SearchIndex, embedder: Embedder, *, batch: int = 32, idle_s: float = 1.0) -> None:
        self._index, self._embedder, self._batch, self._idle_s = index, embedder, batch, idle_s
        self._space = ""

    async def run(self) -> None:
        """Work until cancelled. Trouble with the model or the store is logged, and waited out."""
        ready = False
        while True:
            try:
                if not ready:
                    await self._index.mark()  # an index in memory is loaded before anybody asks
                    ready = True
                busy = await self.step()
            except ReelsiftError as error:
                log.warning("search.indexing_waits", reason=error.reason, message=str(error))
                busy = False
            if not busy:
                await asyncio.sleep(self._idle_s)

    async def step(self) -> bool:
        """Embed one batch; whether there was any. The model is asked for only when there is something to embed."""
        waiting = await self._index.unread(self._batch)
        if not waiting:
            return False
        space = await self._embedder.space()
        if space != self._space:
            if again := await self._index.forget_other(space):
                log.info("search.model_changed", segments=again)
            self._space = space
        texts = {row: document.text for row, document in waiting.items()}
        vectors = {text: await self._embedder.vector(text) for text in dict.fromkeys(texts.values())}
        await self._index.learn(space, {row: vectors[text] for row, text in texts.items()})
        return True


def _check(query: SearchQuery, page_size: int) -> None:
    if not 1 <= page_size <= MOST_HITS:
        raise InvalidRequest(f"a page holds 1 to {MOST_HITS} hits, not {page_size}", page_size=page_size)
    if len(query.text) > MOST_CHARACTERS:
        raise InvalidRequest(f"a query has at most {MOST_CHARACTERS} characters", length=len(query.text))


def _cursor(token: str, query: SearchQuery) -> Cursor:
    try:
        return read_token(token, query)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _hit(segment: FoundSegment, score: float, reasons: tuple[Match, ...]) -> Hit:
    return Hit(segment.ref, segment.interval, segment.start_ns, segment.end_ns, segment.time_base, score, reasons)

"""Search as a whole: ranked, explained, paged; and the indexer that gives texts their vectors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.adapters.search.opening import search_index
from orchestrator.adapters.search.writing import index_segment
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.core.results import ModelVersion
from orchestrator.core.searching import Hit, MatchKind, SearchFilter, SearchQuery, SegmentRef
from orchestrator.errors import InferenceUnavailable, InvalidRequest
from orchestrator.pipeline.search_ports import SearchIndex
from orchestrator.pipeline.searching import Embedder, Indexer, SearchService
from tests.support.search_values import seen, stored

MEANINGS = ("person", "bicycle", "car", "ferry", "boat", "dog")
CLOSE = {"cyclist": "bicycle", "ship": "boat", "puppy": "dog"}


class Meanings:
    """Stands for Triton: a text's vector says which of MEANINGS, or words close to them, it holds."""

    def __init__(self) -> None:
        self.digest, self.asked, self.down = "m" * 64, 0, False

    async def ready(self, models: Sequence[str]) -> None:
        if self.down:
            raise InferenceUnavailable("down")

    def batch(self, model: str) -> int:
        return 1

    def version(self, model: str) -> ModelVersion:
        return ModelVersion(model, "1", self.digest)

    @contextmanager
    def pinned(self, key: str) -> Iterator[Meanings]:
        yield self

    async def infer(self, model: str, inputs: Mapping[str, Any], **_: Any) -> Mapping[str, np.ndarray]:
        self.asked += 1
        vector = np.zeros((1, 384), np.float32)
        vector[0, inputs["tokens"][0]] = 1
        return {"vector": vector / np.linalg.norm(vector)}


def encode(_: ModelVersion, text: str) -> np.ndarray:
    words = [CLOSE.get(word.strip(".,").lower(), word.strip(".,").lower()) for word in text.split()]
    known = [MEANINGS.index(word) for word in words if word in MEANINGS]
    return np.array([known or [300]], np.int32)


class World:
    def __init__(self, store: SqlAnalysisStore) -> None:
        self.store, self.meanings = store, Meanings()
        self.index: SearchIndex = search_index(store.database)
        embedder = Embedder(self.meanings, encode)  # type: ignore[arg-type]
        self.service, self.indexer = SearchService(self.index, embedder), Indexer(self.index, embedder, batch=3)

    async def search(self, text: str = "", **more: Any) -> tuple[Hit, ...]:
        return (await self.service.search(SearchQuery(text, **more), 50)).hits


@pytest.fixture
async def world(sqlite_dir: Path) -> AsyncIterator[World]:
    async with open_store(sqlite_dir, indexers=(index_segment,)) as store:
        yield World(store)


async def town(world: World) -> None:
    await stored(
        world.store,
        "town",
        [
            seen(objects={"person": 0.9, "bicycle": 0.7}, look=[1, 0]),
            seen(objects={"car": 0.6, "person": 0.5}, look=[0.8, 0.6]),
            seen(lines=["RIVER FERRY"], objects={"boat": 0.8}, look=[0, 1]),
            seen(objects={"dog": 0.8}),
            seen(look=[1, 1]),
        ],
        seconds=[1, 2, 1, 1, 1],
    )


async def index_all(world: World) -> int:
    steps = 0
    while await world.indexer.step():
        steps += 1
    return steps


def refs(hits: Sequence[Hit]) -> list[int]:
    return [hit.segment.index for hit in hits]


async def test_hits_are_ranked_and_say_why(world: World) -> None:
    await town(world)
    await index_all(world)
    hits = await world.search("person bicycle")
    assert refs(hits)[:2] == [0, 1]
    assert [(m.kind, m.matched) for m in hits[0].matches] == [
        (MatchKind.MEANING, ""),
        (MatchKind.OBJECT, "person"),
        (MatchKind.OBJECT, "bicycle"),
    ]
    assert hits[0].matches[1].score == pytest.approx(0.9)
    assert hits[0].score > hits[1].score > 0
    assert (hits[1].start_ns, hits[1].end_ns) == (1_000_000_000, 3_000_000_000)
    assert hits[1].interval.start_frame == 10


async def test_meaning_finds_what_no_word_does(world: World) -> None:
    await town(world)
    assert await world.search("cyclist") == ()
    await index_all(world)
    (hit,) = await world.search("cyclist")
    assert refs([hit]) == [0]
    assert [(m.kind, m.matched) for m in hit.matches] == [(MatchKind.MEANING, "")]
    assert hit.matches[0].score == pytest.approx(0.5**0.5, abs=1e-3)


async def test_text_on_the_screen(world: World) -> None:
    await town(world)
    (hit,) = await world.search('"river ferries"')
    assert [(m.kind, m.matched) for m in hit.matches] == [(MatchKind.TEXT, "RIVER FERRY")]


async def test_like_a_segment(world: World) -> None:
    await town(world)
    hits = await world.search(like=SegmentRef("town", 0))
    assert refs(hits) == [1, 4]  # what looks nothing alike (cosine 0) is none
    assert [m.kind for m in hits[0].matches] == [MatchKind.LOOK]
    assert hits[0].matches[0].score == pytest.approx(0.8, abs=1e-3)


async def test_without_a_question_the_newest_come_first(world: World) -> None:
    await town(world)
    assert refs(await world.search()) == [4, 3, 2, 1, 0]
    assert refs(await world.search("  ", filter=SearchFilter(classes=("person",), min_score=0.6))) == [0]


@pytest.mark.parametrize("text", ["", "person dog ferry car"])
async def test_pages_make_up_the_whole(world: World, text: str) -> None:
    await town(world)
    await index_all(world)
    query = SearchQuery(text)
    whole = (await world.service.search(query, 50)).hits
    token, paged = "", []
    for number in range(10):
        page = await world.service.search(query, 2, token)
        paged += page.hits
        token = page.next_token
        if number == 0:  # what comes meanwhile is not on later pages
            await stored(world.store, "later", [seen(objects={"person": 0.99, "dog": 0.99})])
            await index_all(world)
        if not token:
            break
    assert paged == list(whole)


async def test_odd_tokens_and_sizes_are_refused(world: World) -> None:
    await town(world)
    token = (await world.service.search(SearchQuery(), 1)).next_token
    for query, size, bad in (
        (SearchQuery("other"), 1, token),
        (SearchQuery(), 1, "nonsense"),
        (SearchQuery(), 1, "é"),
        (SearchQuery(), 1, "WzEsMiwzXQ"),
        (SearchQuery(), 0, ""),
        (SearchQuery(), 201, ""),
        (SearchQuery("x" * 1001), 1, ""),
    ):
        with pytest.raises(InvalidRequest):
            await world.service.search(query, size, bad)


async def test_the_indexer_works_in_batches_and_then_rests(world: World) -> None:
    await town(world)
    assert await index_all(world) == 2  # four texts in batches of three
    asked = world.meanings.asked
    assert not await world.indexer.step()
    assert world.meanings.asked == asked
    again = Indexer(world.index, Embedder(world.meanings, encode))  # type: ignore[arg-type]
    assert not await again.step()  # as after a restart: nothing is done twice


async def test_equal_texts_are_embedded_once(world: World) -> None:
    await stored(world.store, "same", [seen(objects={"dog": 0.8})] * 3)
    await index_all(world)
    assert world.meanings.asked == 1
    assert len(await world.search("puppy")) == 3


async def test_the_indexer_waits_out_an_outage(world: World) -> None:
    await town(world)
    world.meanings.down = True
    patient = Indexer(world.index, Embedder(world.meanings, encode), idle_s=0.01)  # type: ignore[arg-type]
    running = asyncio.create_task(patient.run())
    with pytest.raises(InferenceUnavailable):
        await world.search("puppy")
    assert refs(await world.search(like=SegmentRef("town", 0))) == [1, 4]  # needs no model
    world.meanings.down = False
    async with asyncio.timeout(10):
        while not await world.search("puppy"):
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_another_model_makes_the_vectors_anew(world: World) -> None:
    await town(world)
    await index_all(world)
    world.meanings.digest = "n" * 64
    assert await world.search("puppy") == ()  # and what was made by the other model waits for this one
    await index_all(world)
    assert refs(await world.search("puppy")) == [3]

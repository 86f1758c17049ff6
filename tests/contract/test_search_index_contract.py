"""What every search index promises, on whichever database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.adapters.search.opening import search_index
from orchestrator.adapters.search.writing import index_segment
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.results import Annotation, Similarity
from orchestrator.core.searching import SearchFilter, SegmentRef
from orchestrator.core.words import phrases
from orchestrator.errors import FailedPrecondition, NotFound
from orchestrator.pipeline.search_ports import SearchIndex
from tests.support.search_values import MODEL, seen, stored
from tests.support.store_values import FAILED

EVERYTHING = SearchFilter()
DAWN = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = DAWN

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass(frozen=True)
class World:
    store: SqlAnalysisStore
    index: SearchIndex

    async def names(self, rows: object) -> list[str]:
        """Rows as ``analysis/number``, in their order."""
        found = await self.index.found([int(row) for row in rows])  # type: ignore[attr-defined]
        return [f"{found[r].ref.analysis_id}/{found[r].ref.index}" for r in rows if r in found]  # type: ignore[attr-defined]

    async def holding(self, query: str, where: SearchFilter = EVERYTHING) -> set[str]:
        return set(await self.names(await self.index.holding(phrases(query), where, await self.index.mark())))

    async def newest(self, where: SearchFilter = EVERYTHING) -> list[str]:
        return await self.names(await self.index.newest(where, await self.index.mark(), None, 100))


@pytest.fixture
async def world(store_target: str | Path) -> AsyncIterator[World]:
    async with open_store(store_target, indexers=(index_segment,), clock=Clock()) as store:
        yield World(store, search_index(store.database))


async def town(world: World) -> None:
    await stored(
        world.store,
        "town",
        [
            seen(objects={"person": 0.9, "bicycle": 0.7}, faces=1, moderation=0.1, look=[1, 0, 0]),
            seen(
                labels={"streetcar, tram, trolley": 0.3},
                objects={"car": 0.6},
                faces=0,
                moderation=0.7,
                look=[0.9, 0.1, 0],
            ),
            seen(lines=["BREAKING NEWS: RIVER FERRY", "Zürich 北京站"], look=[0, 1, 0]),
        ],
        seconds=[1.0, 2.5, 4.0],
        tenant="red",
        labels=(("city", "Bern"), ("show", "a")),
    )
    await stored(
        world.store,
        "lake",
        [seen(objects={"boat": 0.8, "person": 0.3}, lines=["ferries to the river"], faces=3, moderation=0.5)],
        tenant="blue",
        labels=(("city", "Bern"),),
    )


# --- words -----------------------------------------------------------------------------------------------------------


FOUND_BY_WORDS: list[tuple[str, set[str]]] = [
    ("bicycles", {"town/0"}),
    ("PERSON", {"town/0", "lake/0"}),
    ("trolley", {"town/1"}),
    ("ferry", {"town/2", "lake/0"}),
    ("zurich", {"town/2"}),
    ("京站", {"town/2"}),
    ("nothing here", set()),
    ("boat bicycle", {"town/0", "lake/0"}),
    ("", set()),
]


async def test_words_are_found(world: World) -> None:
    await town(world)
    assert [(query, await world.holding(query)) for query, _ in FOUND_BY_WORDS] == FOUND_BY_WORDS


async def test_those_that_hold_most_come_first(world: World) -> None:
    await town(world)
    rows = await world.index.holding(phrases("ferry person boat"), EVERYTHING, await world.index.mark())
    assert (await world.names(rows))[0] == "lake/0"


async def test_a_phrase_is_found_as_it_stands(world: World) -> None:
    await town(world)
    assert await world.holding('"river ferry"') == {"town/2"}
    assert "town/2" not in await world.holding('"news zurich"')


_WORDS = st.text(max_size=40) | st.lists(
    st.sampled_from(
        ['"', "'", "*", "NEAR(", "AND", "OR", ")", ":", "<->", "!", "\\", "\0", "-", "北京", "ferry", "e\u0301", "^"]
    ),
    max_size=8,
).map(" ".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=_WORDS)
async def test_no_text_upsets_the_database(world: World, query: str) -> None:
    await world.index.holding(phrases(query), EVERYTHING, await world.index.mark())
    odd = SearchFilter(classes=(query.replace("\0", ""),), min_score=0.5)
    await world.index.newest(odd, await world.index.mark(), None, 10)


# --- filters ---------------------------------------------------------------------------------------------------------


PASSING: list[tuple[SearchFilter, list[str]]] = [
    (SearchFilter(), ["lake/0", "town/2", "town/1", "town/0"]),
    (SearchFilter(analysis_ids=("lake", "none")), ["lake/0"]),
    (SearchFilter(tenant="red"), ["town/2", "town/1", "town/0"]),
    (SearchFilter(tenant=""), []),
    (SearchFilter(labels=(("city", "Bern"),)), ["lake/0", "town/2", "town/1", "town/0"]),
    (SearchFilter(labels=(("city", "Bern"), ("show", "a"))), ["town/2", "town/1", "town/0"]),
    (SearchFilter(labels=(("city", "a"),)), []),
    (SearchFilter(classes=("Person",)), ["lake/0", "town/0"]),
    (SearchFilter(classes=("person",), min_score=0.3), ["lake/0", "town/0"]),
    (SearchFilter(classes=("person",), min_score=0.31), ["town/0"]),
    (SearchFilter(classes=("person", "bicycle"), min_score=0.7), ["town/0"]),
    (SearchFilter(classes=("tram",)), ["town/1"]),
    (SearchFilter(classes=("streetcar, tram, trolley",)), ["town/1"]),
    (SearchFilter(classes=("street",)), []),
    (SearchFilter(has_face=True), ["lake/0", "town/0"]),
    (SearchFilter(has_face=False), ["town/1"]),
    (SearchFilter(min_moderation=0.5), ["lake/0", "town/1"]),
    (SearchFilter(max_moderation=0.5), ["lake/0", "town/0"]),
    (SearchFilter(min_duration_ns=2_500_000_000), ["town/2", "town/1"]),
    (SearchFilter(max_duration_ns=2_500_000_000), ["lake/0", "town/1", "town/0"]),
    (SearchFilter(has_face=True, tenant="blue", max_moderation=0.5, classes=("boat",)), ["lake/0"]),
]


async def test_filters(world: World) -> None:
    """The same segments pass, whatever is asked besides."""
    await town(world)
    for where, expected in PASSING:
        assert await world.newest(where) == expected, where
        assert await world.holding("person ferry tram bicycle", where) == set(expected), where
        mark = await world.index.mark()
        looks = await world.names(await world.index.look(SegmentRef("town", 0), where, mark))
        assert set(looks) == {name for name in expected if name in ("town/1", "town/2")}, where


async def test_filters_by_time_of_creation(world: World) -> None:
    await town(world)
    created = (await world.store.get("lake")).create_time
    assert await world.newest(SearchFilter(created_after=created)) == ["lake/0"]
    assert await world.newest(SearchFilter(created_before=created)) == ["town/2", "town/1", "town/0"]


# --- vectors ---------------------------------------------------------------------------------------------------------


async def test_looks_are_ranked_by_cosine(world: World) -> None:
    await town(world)
    near = await world.index.look(SegmentRef("town", 0), EVERYTHING, await world.index.mark())
    assert await world.names(sorted(near, key=near.__getitem__, reverse=True)) == ["town/1", "town/2"]
    assert max(near.values()) == pytest.approx(0.9 / np.hypot(0.9, 0.1), abs=1e-3)


async def test_looks_of_the_usual_size(world: World) -> None:
    """1280 dimensions take another way in PostgreSQL."""
    rng = np.random.default_rng(4)
    scenes = np.abs(rng.gamma(0.5, size=(4, 1280)))
    await stored(
        world.store,
        "scenes",
        [seen(look=np.abs(scenes[n % 4] + 0.1 * rng.normal(size=1280)).tolist()) for n in range(40)],
    )
    near = await world.index.look(SegmentRef("scenes", 1), EVERYTHING, await world.index.mark())
    ranked = await world.names(sorted(near, key=near.__getitem__, reverse=True))
    assert {int(name.split("/")[1]) % 4 for name in ranked[:9]} == {1}
    assert len(ranked) == 39


async def test_a_segment_without_a_look_or_unknown(world: World) -> None:
    await town(world)
    mark = await world.index.mark()
    with pytest.raises(FailedPrecondition):
        await world.index.look(SegmentRef("lake", 0), EVERYTHING, mark)
    for ref in (SegmentRef("lake", 1), SegmentRef("nobody", 0)):
        with pytest.raises(NotFound):
            await world.index.look(ref, EVERYTHING, mark)


def meaning(*leading: float) -> np.ndarray:
    vector = np.zeros(384, np.float32)
    vector[: len(leading)] = leading
    return vector / np.linalg.norm(vector)


async def learn_all(world: World, vectors: Mapping[str, np.ndarray], space: str = "m") -> None:
    waiting = await world.index.unread(100)
    names = await world.names(waiting)
    await world.index.learn(space, {row: vectors[name] for row, name in zip(waiting, names, strict=True)})


VECTORS = {"town/0": meaning(1), "town/1": meaning(1, 1), "town/2": meaning(0, 1), "lake/0": meaning(1, 0.1)}


async def test_texts_are_found_by_meaning_once_learned(world: World) -> None:
    await town(world)
    before = await world.index.mark()
    assert list(await world.names(await world.index.unread(100))) == ["town/0", "town/1", "town/2", "lake/0"]
    assert await world.index.meaning("m", meaning(1), EVERYTHING, before) == {}
    await learn_all(world, VECTORS)
    assert await world.index.unread(100) == {}
    mark = await world.index.mark()
    near = await world.index.meaning("m", meaning(1), EVERYTHING, mark)
    assert await world.names(sorted(near, key=near.__getitem__, reverse=True)) == [
        "town/0",
        "lake/0",
        "town/1",
        "town/2",
    ]
    assert near[max(near, key=near.__getitem__)] == pytest.approx(1.0, abs=1e-3)
    assert await world.index.meaning("other", meaning(1), EVERYTHING, mark) == {}
    assert await world.index.meaning("m", meaning(1), EVERYTHING, before) == {}  # a page of before sees none of them
    red = await world.index.meaning("m", meaning(1), SearchFilter(tenant="blue"), mark)
    assert await world.names(red) == ["lake/0"]


async def test_vectors_of_another_model_are_made_anew(world: World) -> None:
    await town(world)
    await learn_all(world, VECTORS)
    assert await world.index.forget_other("m") == 0
    assert await world.index.forget_other("new") == 4
    assert len(await world.index.unread(100)) == 4
    await learn_all(world, VECTORS, "new")
    mark = await world.index.mark()
    assert len(await world.index.meaning("new", meaning(1), EVERYTHING, mark)) == 4
    assert await world.index.forget_other("new") == 0


async def test_a_segment_without_words_is_not_read(world: World) -> None:
    await stored(world.store, "mute", [seen(look=[1, 2])])
    assert await world.index.unread(10) == {}
    assert await world.newest() == ["mute/0"]


# --- what comes and goes ---------------------------------------------------------------------------------------------


async def test_a_later_page_sees_what_the_first_one_saw(world: World) -> None:
    await town(world)
    mark = await world.index.mark()
    await stored(world.store, "late", [seen(objects={"person": 0.9}, look=[1, 0, 0])])
    for rows in (
        await world.index.newest(EVERYTHING, mark, None, 100),
        await world.index.holding(phrases("person"), EVERYTHING, mark),
        await world.index.look(SegmentRef("town", 0), EVERYTHING, mark),
    ):
        assert rows
        assert "late/0" not in await world.names(rows)
    assert "late/0" in await world.holding("person")


async def test_pages_of_the_newest_go_on_below(world: World) -> None:
    await town(world)
    mark = await world.index.mark()
    first = await world.index.newest(EVERYTHING, mark, None, 3)
    assert await world.names(await world.index.newest(EVERYTHING, mark, first[-1], 3)) == ["town/0"]


async def test_what_is_deleted_is_not_found(world: World) -> None:
    await town(world)
    await learn_all(world, VECTORS)
    await world.holding("person")  # seen before it goes
    lease = next(lease for lease in await world.store.leases() if lease.analysis_id == "town")
    await world.store.end(lease, FAILED, AnalysisState.FAILED)
    await world.store.delete("town")
    assert await world.holding("person ferry tram") == {"lake/0"}
    assert await world.newest() == ["lake/0"]
    mark = await world.index.mark()
    assert await world.names(await world.index.meaning("m", meaning(1), EVERYTHING, mark)) == ["lake/0"]
    again = search_index(world.store.database)  # as after a restart
    assert await world.names(await again.holding(phrases("person ferry tram"), EVERYTHING, mark)) == ["lake/0"]
    with pytest.raises(NotFound):
        await world.index.look(SegmentRef("town", 0), EVERYTHING, mark)


async def test_a_vector_that_cannot_be_compared_keeps_no_segment_from_being_stored(world: World) -> None:
    await stored(world.store, "odd", [seen(look=[1.0, 2.0])])
    nan = Annotation("similarity", (MODEL,), Similarity((float("nan"), 1.0)), 1)
    await stored(world.store, "nan", [(*seen(objects={"dog": 0.5}), nan)])
    assert await world.holding("dog") == {"nan/0"}
    with pytest.raises(FailedPrecondition):
        await world.index.look(SegmentRef("nan", 0), EVERYTHING, await world.index.mark())

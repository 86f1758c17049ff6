"""Where more rows match than PostgreSQL's index looks at in one way, it goes another way to the same rows."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from orchestrator.adapters.search import postgres
from orchestrator.adapters.search.postgres import PostgresSearchIndex
from orchestrator.adapters.search.writing import index_segment
from orchestrator.adapters.stores.sql import open_store
from orchestrator.core.searching import SearchFilter, SegmentRef
from orchestrator.core.words import phrases
from tests.support.search_values import seen, stored

DEPTH, FEW, FAR = 5, 12, 1000  # FAR above all that there is: nothing may be missed
ANALYSES, SEGMENTS = 8, 20
TENANTS = ("red", "blue", "red", "green", "red", "blue", "red", "blue")  # green's are few, and not the newest


@dataclass(frozen=True)
class Row:
    """A segment as it was stored."""

    analysis: int
    number: int
    person: float
    words: frozenset[str]
    face: bool
    moderation: float
    look: tuple[float, ...]

    @property
    def name(self) -> tuple[str, int]:
        return f"a{self.analysis}", self.number

    @property
    def tenant(self) -> str:
        return TENANTS[self.analysis]


@dataclass
class World:
    index: PostgresSearchIndex
    rows: list[Row] = field(default_factory=list)  # oldest first

    async def named(self, found: Sequence[int]) -> list[tuple[str, int]]:
        segments = await self.index.found(found)
        return [(segments[row].ref.analysis_id, segments[row].ref.index) for row in found]


def drawn(rng: random.Random, analysis: int, number: int) -> Row:
    words = {"common"} if rng.random() < 0.8 else set()
    if rng.random() < 0.1:
        words.add("seldom")
    if analysis == 2 and number in (3, 9):
        words.add("old")
    person = round(rng.random(), 3) if rng.random() < 0.6 else 0.0
    look = tuple(rng.gauss(0, 1) for _ in range(8))
    return Row(analysis, number, person, frozenset(words), rng.random() < 0.5, round(rng.random(), 3), look)


@pytest.fixture
async def world(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    for name, bound in (("DEPTH", DEPTH), ("FEW", FEW), ("FAR", FAR)):
        monkeypatch.setattr(postgres, name, bound)
    rng = random.Random(5)
    async with open_store(postgres_url, indexers=(index_segment,)) as store:
        world = World(PostgresSearchIndex(store.database))
        for analysis in range(ANALYSES):
            rows = [drawn(rng, analysis, number) for number in range(SEGMENTS)]
            world.rows += rows
            segments = [
                seen(
                    objects={"person": row.person} if row.person else {},
                    lines=sorted(row.words),
                    faces=int(row.face),
                    moderation=row.moderation,
                    look=row.look,
                )
                for row in rows
            ]
            labels = (("show", "late" if analysis > 3 else "early"),)
            await stored(store, f"a{analysis}", segments, tenant=TENANTS[analysis], labels=labels)
        yield world


FILTERS: Mapping[str, tuple[SearchFilter, Callable[[Row], bool]]] = {
    "none": (SearchFilter(), lambda row: True),
    "many": (SearchFilter(tenant="red"), lambda row: row.tenant == "red"),
    "some": (
        SearchFilter(tenant="green", max_moderation=0.5),
        lambda row: row.tenant == "green" and row.moderation <= 0.5,
    ),
    "a face": (SearchFilter(has_face=True), lambda row: row.face),
    "a class": (SearchFilter(classes=("person",), min_score=0.5), lambda row: row.person >= 0.5),
    "a label": (SearchFilter(labels=(("show", "early"),)), lambda row: row.analysis <= 3),
    "one analysis": (SearchFilter(analysis_ids=("a2",)), lambda row: row.analysis == 2),
    "nothing": (SearchFilter(tenant="yellow"), lambda row: False),
}


@pytest.mark.parametrize("chosen", FILTERS)
async def test_the_newest_and_the_best_are_found(world: World, chosen: str) -> None:
    where, passes = FILTERS[chosen]
    mark = await world.index.mark()
    newest = [row for row in reversed(world.rows) if passes(row)]
    best = sorted((row for row in newest if row.person), key=lambda row: -row.person)
    for query in (
        "common",
        "seldom",
        "old",
        "person",
        "absent",
        '"common seldom"',
        "common seldom",
        "old seldom common",
    ):
        asked = query.strip('"').split()
        expected = best[:DEPTH] if query == "person" else []
        if query == "person":
            expected += [row for row in newest if row.person][:DEPTH] if len(expected) < DEPTH else []
        elif '"' not in query:  # each word is a line of its own, so no line holds a phrase
            for enough in (all, any):
                if len(expected) < DEPTH:
                    expected += [row for row in newest if enough(word in row.words for word in asked)][:DEPTH]
        found = await world.index.holding(phrases(query), where, mark)
        assert await world.named(list(found)) == [row.name for row in dict.fromkeys(expected)][: 2 * DEPTH], query


@pytest.mark.parametrize("wanted", [4, 1000])
@pytest.mark.parametrize("chosen", FILTERS)
async def test_what_looks_most_alike_is_found(
    world: World, chosen: str, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "FILTERED_DEPTH", wanted)
    where, passes = FILTERS[chosen]
    like = world.rows[50]
    cosines = {row.name: cosine(row.look, like.look) for row in world.rows if passes(row) and row is not like}
    found = await world.index.look(SegmentRef(*like.name), where, await world.index.mark())
    names = await world.named(list(found))
    assert dict(zip(names, found.values(), strict=True)) == pytest.approx(
        {name: cosines[name] for name in names}, abs=2e-3
    )
    walked = chosen != "none" and sum(map(passes, world.rows)) > FEW and wanted < len(cosines)
    assert len(found) == min(len(cosines), wanted if walked else DEPTH)
    if not walked and chosen != "none":  # every one was compared
        assert sorted(found.values()) == pytest.approx(sorted(cosines.values())[-DEPTH:], abs=2e-3)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))

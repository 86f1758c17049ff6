"""What every result store promises, whatever it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.adapters.stores.memory import MemoryResultStore
from orchestrator.core.media import Ledger
from orchestrator.core.results import AnalysisEvent, Failed, Finished, Progress, Segment, SegmentClosed
from orchestrator.core.timeline import Interval
from orchestrator.errors import InternalError, NotFound
from orchestrator.ports import ResultStore

Opener = Callable[[], AbstractAsyncContextManager[ResultStore]]
SOON = 5.0  # seconds: far longer than anything here takes


@asynccontextmanager
async def _memory() -> AsyncIterator[ResultStore]:
    yield MemoryResultStore()


STORES: dict[str, Opener] = {"memory": _memory}
"""Every implementation: a context manager that gives an empty store."""


@pytest.fixture(params=list(STORES.values()), ids=list(STORES))
def opener(request: pytest.FixtureRequest) -> Opener:
    opener: Opener = request.param
    return opener


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[ResultStore]:
    async with opener() as opened:
        await opened.create("one")
        yield opened


def segment(index: int) -> SegmentClosed:
    return SegmentClosed(Segment(index, Interval(index, index + 1, index * 512, index * 512 + 512), (), None, False))


def progress(done: int) -> Progress:
    return Progress(media_ns=done, elapsed_ns=done, ledger=Ledger(), eta_ns=None)


FINISHED = Finished(
    segments=3, media_ns=9, elapsed_ns=9, ledger=Ledger(), partial=False, first_bad_pts=None, fault=None
)
FAILED = Failed(reason="MEDIA_UNREADABLE", grpc_code="INVALID_ARGUMENT", message="no frame", retryable=False)


async def collect(store: ResultStore, after: int = 0, analysis: str = "one") -> list[tuple[int, AnalysisEvent]]:
    async with asyncio.timeout(SOON):
        return [entry async for entry in store.read(analysis, after)]


async def fill(store: ResultStore, *events: AnalysisEvent, analysis: str = "one") -> list[int]:
    return [await store.append(analysis, event) for event in events]


async def test_events_come_back_in_order_with_rising_numbers(store: ResultStore) -> None:
    events: list[AnalysisEvent] = [segment(0), segment(1), segment(2), FINISHED]
    assert await fill(store, *events) == [1, 2, 3, 4]
    assert await collect(store) == list(zip([1, 2, 3, 4], events, strict=True))


async def test_a_cursor_skips_what_it_has_seen(store: ResultStore) -> None:
    await fill(store, segment(0), segment(1), FINISHED)
    assert [sequence for sequence, _ in await collect(store, after=1)] == [2, 3]


@pytest.mark.parametrize("final", [FINISHED, FAILED])
async def test_reading_past_the_final_event_ends_at_once(store: ResultStore, final: AnalysisEvent) -> None:
    last = (await fill(store, segment(0), final))[-1]
    assert await collect(store, after=last) == []


async def test_a_reader_waits_for_what_is_still_to_come(store: ResultStore) -> None:
    reader = asyncio.create_task(collect(store))
    for event in (segment(0), segment(1), FINISHED):
        await asyncio.sleep(0.01)
        assert not reader.done()
        await store.append("one", event)
    assert [event for _, event in await reader] == [segment(0), segment(1), FINISHED]


async def test_a_reader_ahead_of_the_log_gets_only_what_lies_behind_its_cursor(store: ResultStore) -> None:
    reader = asyncio.create_task(collect(store, after=2))
    await asyncio.sleep(0.01)
    await fill(store, segment(0), segment(1), segment(2), FINISHED)
    assert await reader == [(3, segment(2)), (4, FINISHED)]


async def test_an_event_is_seen_before_the_next_one_is_written(store: ResultStore) -> None:
    async with aclosing(store.read("one")) as reader, asyncio.timeout(SOON):  # type: ignore[type-var]
        for index in range(5):
            await store.append("one", segment(index))
            assert await anext(reader) == (index + 1, segment(index))


async def test_many_readers_get_the_same(store: ResultStore) -> None:
    readers = [asyncio.create_task(collect(store)) for _ in range(20)]
    await asyncio.sleep(0)
    await fill(store, *(segment(index) for index in range(50)), FINISHED)
    results = await asyncio.gather(*readers)
    assert all(result == results[0] for result in results)
    assert len(results[0]) == 51


async def test_a_reader_that_does_not_read_holds_nobody(store: ResultStore) -> None:
    async with aclosing(store.read("one")) as slow, asyncio.timeout(SOON):  # type: ignore[type-var]
        await store.append("one", segment(0))
        assert await anext(slow) == (1, segment(0))
        await fill(store, *(segment(index) for index in range(1, 1000)), FINISHED)
        assert len(await collect(store)) == 1001
        rest = [entry async for entry in slow]
    assert [sequence for sequence, _ in rest] == list(range(2, 1002))


async def test_a_reader_that_goes_away_leaves_the_others_alone(store: ResultStore) -> None:
    leaving, staying = asyncio.create_task(collect(store)), asyncio.create_task(collect(store))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await fill(store, segment(0), FINISHED)
    assert leaving.cancelled()
    assert [event for _, event in await staying] == [segment(0), FINISHED]


async def test_analyses_are_apart(store: ResultStore) -> None:
    await store.create("two")
    assert await fill(store, segment(0), FINISHED) == [1, 2]
    assert await fill(store, FAILED, analysis="two") == [1]
    assert await collect(store, analysis="two") == [(1, FAILED)]


async def test_an_unknown_analysis_is_not_found(store: ResultStore) -> None:
    with pytest.raises(NotFound):
        await store.append("none", segment(0))
    with pytest.raises(NotFound):
        await collect(store, analysis="none")


async def test_existence_begins_with_creation_and_outlasts_the_end(store: ResultStore) -> None:
    assert not await store.exists("two")
    await store.create("two")
    assert await store.exists("two")
    await fill(store, FINISHED, analysis="two")
    assert await store.exists("two")


async def test_an_id_is_taken_once(store: ResultStore) -> None:
    await store.append("one", segment(0))
    with pytest.raises(InternalError):
        await store.create("one")
    await store.append("one", FINISHED)
    assert len(await collect(store)) == 2


@pytest.mark.parametrize("final", [FINISHED, FAILED])
async def test_nothing_follows_a_final_event(store: ResultStore, final: AnalysisEvent) -> None:
    await fill(store, segment(0), final)
    for late in (segment(1), progress(1), FINISHED):
        with pytest.raises(InternalError):
            await store.append("one", late)
    assert [event for _, event in await collect(store)] == [segment(0), final]


async def test_progress_may_be_thinned_out_but_nothing_else(store: ResultStore) -> None:
    for index in range(100):
        await fill(store, progress(2 * index), progress(2 * index + 1), segment(index))
    await store.append("one", FINISHED)
    entries = await collect(store)
    assert all(a < b for (a, _), (b, _) in pairwise(entries))
    assert [event for _, event in entries if not isinstance(event, Progress)] == [*map(segment, range(100)), FINISHED]
    shown = [event.media_ns for _, event in entries if isinstance(event, Progress)]
    assert shown == sorted(shown)
    assert shown[-1] == 199


async def test_a_live_reader_sees_progress(store: ResultStore) -> None:
    async with aclosing(store.read("one")) as reader, asyncio.timeout(SOON):  # type: ignore[type-var]
        for done in range(5):
            sequence = await store.append("one", progress(done))
            assert await anext(reader) == (sequence, progress(done))


@pytest.mark.parametrize("name", STORES)
@given(
    kinds=st.lists(st.sampled_from(["segment", "progress", "look"]), max_size=40),
    cursors=st.lists(st.integers(0, 45), min_size=1, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_any_reader_at_any_time_gets_the_log_behind_its_cursor(name: str, kinds: list[str], cursors: list[int]) -> None:
    """Readers that start anywhere, at any moment, agree with the finished log on all but progress."""

    async def history() -> None:
        async with STORES[name]() as store:
            await store.create("one")
            readers: list[tuple[int, asyncio.Task[list[tuple[int, AnalysisEvent]]]]] = []
            for index, kind in enumerate(kinds):
                if kind == "look":
                    cursor = cursors[index % len(cursors)]
                    readers.append((cursor, asyncio.create_task(collect(store, cursor))))
                    await asyncio.sleep(0)
                else:
                    await store.append("one", segment(index) if kind == "segment" else progress(index))
            await store.append("one", FINISHED)
            lasting = [entry for entry in await collect(store) if not isinstance(entry[1], Progress)]
            for cursor, task in readers:
                seen = await task
                assert all(a < b for (a, _), (b, _) in pairwise(seen))
                assert [entry for entry in seen if not isinstance(entry[1], Progress)] == [
                    entry for entry in lasting if entry[0] > cursor
                ]

    asyncio.run(history())

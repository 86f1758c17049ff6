"""The bounds of the store in memory."""

from __future__ import annotations

import pytest

from orchestrator.adapters.stores.memory import MemoryResultStore
from orchestrator.core.media import Ledger
from orchestrator.core.results import AnalysisEvent, Failed, Progress
from orchestrator.errors import NotFound

END = Failed(reason="X", grpc_code="INTERNAL", message="", retryable=False)


async def _events(store: MemoryResultStore, analysis: str) -> list[AnalysisEvent]:
    return [event async for _, event in store.read(analysis)]


async def test_only_the_newest_finished_analyses_are_kept() -> None:
    store = MemoryResultStore(keep_finished=2)
    await store.create("running")
    for name in "abc":
        await store.create(name)
        await store.append(name, END)
    assert not await store.exists("a")
    with pytest.raises(NotFound):
        await _events(store, "a")
    assert await _events(store, "b") == await _events(store, "c") == [END]
    assert await store.append("running", END) == 1


async def test_a_reader_finishes_an_analysis_that_is_dropped() -> None:
    store = MemoryResultStore(keep_finished=1)
    for name in "ab":
        await store.create(name)
    progress = Progress(media_ns=1, elapsed_ns=1, ledger=Ledger(), eta_ns=None)
    await store.append("a", progress)
    reader = store.read("a")
    assert await anext(reader) == (1, progress)
    await store.append("a", END)
    await store.append("b", END)
    assert [entry async for entry in reader] == [(2, END)]


async def test_progress_does_not_pile_up() -> None:
    store = MemoryResultStore()
    await store.create("a")
    for done in range(10_000):
        await store.append("a", Progress(media_ns=done, elapsed_ns=done, ledger=Ledger(), eta_ns=None))
    assert await store.append("a", END) == 10_001
    assert len(await _events(store, "a")) == 2


def test_keeping_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        MemoryResultStore(keep_finished=0)

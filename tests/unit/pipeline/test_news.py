"""News: nothing falls between looking and waiting, and nothing is kept of what nobody watches."""

from __future__ import annotations

import asyncio

from orchestrator.core.media import Ledger
from orchestrator.core.results import Progress
from orchestrator.pipeline.news import News

PROGRESS = Progress(1, 1, Ledger(), None)


async def test_what_happens_between_making_and_waiting_is_not_missed() -> None:
    news = News()
    watch = news.watch("one")
    news.tell("one")
    await asyncio.wait_for(watch.wait(None), 1)
    waiting = asyncio.create_task(watch.wait(None))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    news.tell("other")
    await asyncio.sleep(0.01)
    assert not waiting.done()
    news.tell("one")
    await asyncio.wait_for(waiting, 1)


async def test_waiting_ends_by_itself_when_asked_to() -> None:
    watch = News().watch("one")
    await asyncio.wait_for(watch.wait(0.01), 1)


async def test_mere_progress_is_no_reason_to_ask_the_store() -> None:
    news = News()
    watch = news.watch("one")
    news.tell("one", PROGRESS)
    assert not await watch.wait(1)
    news.tell("one", PROGRESS)
    news.tell("one")
    assert await watch.wait(1), "progress hides nothing that was logged"
    assert await watch.wait(0.01), "who waited long asks: another process may have written"


async def test_each_watcher_sees_each_progress_once() -> None:
    news = News()
    one, other = news.watch("one"), news.watch("one")
    assert one.progress() is None
    news.tell("one", PROGRESS)
    assert (one.progress(), one.progress(), other.progress()) == (PROGRESS, None, PROGRESS)
    news.tell("one")
    assert one.progress() is None


async def test_nothing_is_kept_of_what_nobody_watches() -> None:
    news = News()
    news.tell("one", PROGRESS)
    one, other = news.watch("one"), news.watch("one")
    assert one.progress() is None
    one.close()
    news.tell("one", PROGRESS)
    assert other.progress() is PROGRESS
    other.close()
    assert not news._topics


async def test_closing_wakes_everybody() -> None:
    news = News()
    waiting = [asyncio.create_task(news.watch(name).wait(None)) for name in ("one", "two")]
    await asyncio.sleep(0.01)
    news.close()
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
    assert news.closed

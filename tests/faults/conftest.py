"""One Triton for all services that are killed here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.faults.kills import MODELS
from tests.faults.serving import lasting_triton


@pytest.fixture(scope="session")
def triton() -> Iterator[str]:
    """The address of a Triton, kept alive by a thread of its own, for tests with loops of their own."""
    ready, over = threading.Event(), asyncio.Event()
    loop, told = asyncio.new_event_loop(), list[str]()

    async def keep() -> None:
        async with lasting_triton(MODELS) as lasting:
            told.append(lasting.address)
            ready.set()
            await over.wait()

    def run() -> None:
        try:
            loop.run_until_complete(keep())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    assert told, "Triton did not start"
    yield told[0]
    loop.call_soon_threadsafe(over.set)
    thread.join()

"""A real gRPC server with a fake port behind it, in a thread of its own: for commands, which bring their own event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import structlog

from orchestrator.api.ports import Operations
from orchestrator.api.server import grpc_server

SECONDS = 20.0


@contextmanager
def served(operations: Operations, folder: Path) -> Iterator[str]:
    """The address of a server of ``operations`` alone. It logs nothing, as its log would mix with the command's output."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    address = f"unix:{folder / 'api'}"
    ready, done = threading.Event(), threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        async with grpc_server(cast(Any, None), address, operations=operations, grace=0):
            ready.set()
            await stop.wait()

    def run() -> None:
        asyncio.run(serve())
        done.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert ready.wait(SECONDS), "the server did not start"
        yield address
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        assert done.wait(SECONDS), "the server did not stop"
        thread.join(SECONDS)
        structlog.reset_defaults()

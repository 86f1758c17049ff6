"""Tracing, where it is wanted; else not even its library is imported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def tracing_to(endpoint: str, share: float) -> AsyncIterator[None]:
    """Trace to ``endpoint`` inside, see ``traces.traced``; without one, do not."""
    if not endpoint:
        yield
        return
    from orchestrator.adapters.telemetry.traces import traced

    async with traced(endpoint, share):
        yield

"""Services that break a promise, for the negative controls: ``python -m tests.faults.broken FAULT serve ...``."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from orchestrator import failpoints
from orchestrator.adapters.stores import progress
from orchestrator.adapters.stores.rows import change
from orchestrator.adapters.stores.segments import write_segment
from orchestrator.adapters.stores.sql import SqlAnalysisStore
from orchestrator.adapters.triton.client import Pinned
from orchestrator.adapters.triton.connection import Connection as TritonConnection
from orchestrator.adapters.triton.model import Model
from orchestrator.api.server import GrpcServer
from orchestrator.core.jobs import AnalysisRecord, AnalysisSpec, Checkpoint, Lease
from orchestrator.core.results import Segment
from orchestrator.errors import InternalError, LeaseLost
from orchestrator.pipeline.disk import DiskGuard
from orchestrator.pipeline.runner import Runner

T = TypeVar("T")

LATE_SECONDS = 1.0
IN_BETWEEN = "broken.in_between"  # a failpoint between the two halves


async def torn_commit(store: SqlAnalysisStore, lease: Lease, segment: Segment, checkpoint: Checkpoint) -> int:
    """A segment in one transaction, and the checkpoint behind it in another."""
    await store.write(lambda sql: _segment_alone(store, sql, lease, segment))
    failpoints.reach(IN_BETWEEN)
    await store.write(lambda sql: _checkpoint_alone(store, sql, lease, checkpoint))
    return segment.index + 2


async def late_commit(store: SqlAnalysisStore, lease: Lease, segment: Segment, checkpoint: Checkpoint) -> int:
    """A segment now, and its checkpoint in the background."""
    await store.write(lambda sql: _segment_alone(store, sql, lease, segment))

    async def later() -> None:
        await asyncio.sleep(LATE_SECONDS)
        with suppress(LeaseLost):
            await store.write(lambda sql: _checkpoint_alone(store, sql, lease, checkpoint))

    task = asyncio.create_task(later())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return segment.index + 2


_tasks: set[asyncio.Task[None]] = set()
_create = SqlAnalysisStore.create


async def blind_create(
    store: SqlAnalysisStore, analysis_id: str, spec: AnalysisSpec, *, limit: int
) -> tuple[AnalysisRecord, bool]:
    """A new analysis for every request."""
    record, created = await _create(store, analysis_id, replace(spec, request_id=""), limit=limit)
    return replace(record, spec=spec), created


def _segment_alone(store: SqlAnalysisStore, sql: Connection, lease: Lease, segment: Segment) -> None:
    store._held(sql, lease)
    write_segment(sql, lease.analysis_id, segment, store._now())
    change(sql, lease.analysis_id, segments=segment.index + 1, last_sequence=segment.index + 2, interruptions=0)


def _checkpoint_alone(store: SqlAnalysisStore, sql: Connection, lease: Lease, checkpoint: Checkpoint) -> None:
    store._held(sql, lease)
    progress._write_checkpoint(sql, lease.analysis_id, checkpoint)


async def impatient_through(guard: DiskGuard, write: Callable[[], Awaitable[T]]) -> T:
    """A full disk is an error like any other."""
    guard.check()
    return await write()


async def unpinned(view: Pinned, model: str) -> tuple[Model, TritonConnection]:
    """Each request is answered by the version that would answer for an analysis of its own."""
    with view._whole.routes.pinned(secrets.token_hex(8)) as pin:
        return await view._supervisor.healed(pin.name(model))


async def silent_drain(server: GrpcServer) -> None:
    """Nobody is told that the server goes away."""


_requeue = Runner._requeue


async def dropping_requeue(runner: Runner, lease: Lease, reason: str) -> None:
    """What a drain ends, ends for good."""
    if reason == "DRAIN":
        await runner._fail(lease, InternalError("dropped"))
    else:
        await _requeue(runner, lease, reason)


FAULTS: dict[str, tuple[type, str, Callable[..., object]]] = {
    "torn": (SqlAnalysisStore, "commit_segment", torn_commit),
    "late": (SqlAnalysisStore, "commit_segment", late_commit),
    "blind": (SqlAnalysisStore, "create", blind_create),
    "impatient": (DiskGuard, "through", impatient_through),
    "unpinned": (Pinned, "_answering", unpinned),
    "silent": (GrpcServer, "drain", silent_drain),
    "dropping": (Runner, "_requeue", dropping_requeue),
}


def break_it(fault: str) -> None:
    """From here on this process has ``fault``."""
    kind, name, function = FAULTS[fault]
    setattr(kind, name, function)


def program(fault: str) -> tuple[str, ...]:
    """``reelsift`` with a fault."""
    return (sys.executable, "-m", "tests.faults.broken", fault)


if __name__ == "__main__":
    from orchestrator.cli.main import main

    break_it(sys.argv.pop(1))
    main()

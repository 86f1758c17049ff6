"""Rows of ``analyses`` as records, and finding them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, Select, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.adapters.stores.codec import decode, from_us
from orchestrator.adapters.stores.schema import analyses
from orchestrator.core.jobs import (
    AnalysisRecord,
    AnalysisSpec,
    AnalysisState,
    Lease,
    Queued,
    ReusePlan,
    UploadState,
)
from orchestrator.core.results import Failed, Finished, Started
from orchestrator.errors import LeaseLost, NotFound

T = TypeVar("T")

INSERT: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
"""Inserts that know what to do about a row that is there already, by dialect."""


def find(connection: Connection, analysis_id: str) -> RowMapping:
    """Its row. Raises ``NotFound``."""
    return _one(connection, select(analyses).where(analyses.c.id == analysis_id), analysis_id)


def hold(connection: Connection, analysis_id: str) -> RowMapping:
    """Its row, which nobody else changes before this transaction ends. Raises ``NotFound``."""
    return _one(connection, select(analyses).where(analyses.c.id == analysis_id).with_for_update(), analysis_id)


def _one(connection: Connection, query: Select[Any], analysis_id: str) -> RowMapping:
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound("no such analysis", analysis_id=analysis_id)
    return row


def hold_leased(connection: Connection, lease: Lease) -> RowMapping:
    """The row of a lease in force, which nobody else changes before this transaction ends. Raises ``LeaseLost``."""
    try:
        row = hold(connection, lease.analysis_id)
    except NotFound:
        row = None
    if row is None or row["state"] != AnalysisState.RUNNING or row["lease_token"] != lease.token:
        raise LeaseLost("the analysis has ended, or is another runner's", analysis_id=lease.analysis_id)
    return row


def change(connection: Connection, analysis_id: str, **values: object) -> None:
    """Set columns of its row."""
    connection.execute(update(analyses).where(analyses.c.id == analysis_id).values(**values))


def record_of(row: RowMapping) -> AnalysisRecord:
    """The analysis of a row."""
    return AnalysisRecord(
        id=row["id"],
        spec=decode(AnalysisSpec, row["spec"]),
        state=AnalysisState(row["state"]),
        create_time=from_us(row["create_us"]),
        start_time=_instant(row["start_us"]),
        end_time=_instant(row["end_us"]),
        attempts=row["attempts"],
        strikes=row["strikes"],
        interruptions=row["interruptions"],
        segments=row["segments"],
        last_sequence=row["last_sequence"],
        upload=UploadState(row["upload_committed"], row["upload_complete"]),
        started=_optional(Started, row["started"]),
        content_digest=row["content_digest"],
        reuse=_optional(ReusePlan, row["reuse"]),
        cancel_requested=row["cancel_requested"],
        terminated=row["terminated"],
        failure=_optional(Failed, row["failure"]),
        result=_optional(Finished, row["result"]),
    )


def queued_of(row: RowMapping) -> Queued:
    """What a scheduler weighs of a row."""
    spec = decode(AnalysisSpec, row["spec"])
    return Queued(
        id=row["id"],
        tenant=row["tenant"],
        priority=row["priority"],
        create_time=from_us(row["create_us"]),
        cost=row["source_size"] or 0,
        segments=row["segments"],
        cancel_requested=row["cancel_requested"],
        deadline=spec.deadline,
        source=spec.source,
        upload=UploadState(row["upload_committed"], row["upload_complete"]),
    )


def _optional(kind: type[T], text: str | None) -> T | None:
    return None if text is None else decode(kind, text)


def _instant(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_us(microseconds)

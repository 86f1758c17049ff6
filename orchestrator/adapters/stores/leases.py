"""What runners do with analyses: each public function is one transaction.

A lease is a row whose state is RUNNING and whose ``lease_token`` is the lease's. The token only ever rises, and every write
of a runner looks at it under the row's lock: so a runner that was given up cannot write any more, however late it wakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from orchestrator.adapters.stores.codec import encode, to_us
from orchestrator.adapters.stores.rows import change, hold, queued_of
from orchestrator.adapters.stores.schema import analyses, analyzer_keys, attempts, checkpoints, memos
from orchestrator.adapters.stores.statistics import note_outcome
from orchestrator.core.jobs import AnalysisState, AnalyzerKey, Lease, Queued, ReusePlan
from orchestrator.core.results import Failed, Finished, Started
from orchestrator.core.statistics import Spent
from orchestrator.errors import InternalError

INTERRUPTED = "INTERRUPTED"
"""Why an attempt ended whose process died."""


def queued(connection: Connection, limit: int) -> list[Queued]:
    """Analyses that wait, highest priority and oldest first. The first ones of every tenant are among them."""
    order = (analyses.c.priority.desc(), analyses.c.create_us, analyses.c.id)
    rank = func.row_number().over(partition_by=analyses.c.tenant, order_by=order).label("rank")
    waiting = select(analyses.c.id, rank).where(analyses.c.state == AnalysisState.QUEUED.value).subquery()
    query = select(analyses).join(waiting, waiting.c.id == analyses.c.id).order_by(waiting.c.rank, *order).limit(limit)
    found = [queued_of(row) for row in connection.execute(query).mappings()]
    return sorted(found, key=lambda each: (-each.priority, each.create_time, each.id))


def claim(connection: Connection, analysis_id: str, owner: str, now: datetime) -> Lease | None:
    """Begin an attempt; ``None`` unless it is queued."""
    row = hold(connection, analysis_id)
    if row["state"] != AnalysisState.QUEUED:
        return None
    token = row["lease_token"] + 1
    change(
        connection,
        analysis_id,
        state=AnalysisState.RUNNING.value,
        lease_token=token,
        lease_owner=owner,
        beats=0,
        attempts=row["attempts"] + 1,
        start_us=to_us(now) if row["start_us"] is None else row["start_us"],
        progress_us=to_us(now),
    )
    begun = {"analysis_id": analysis_id, "token": token, "owner": owner, "start_us": to_us(now), "strike": False}
    connection.execute(insert(attempts).values(begun))
    return Lease(analysis_id, owner, token)


def leases(connection: Connection) -> dict[Lease, int]:
    """Every lease in force and its number of beats."""
    columns = (analyses.c.id, analyses.c.lease_owner, analyses.c.lease_token, analyses.c.beats)
    query = select(*columns).where(analyses.c.state == AnalysisState.RUNNING.value)
    return {Lease(row.id, row.lease_owner, row.lease_token): row.beats for row in connection.execute(query)}


def requeue(connection: Connection, row: RowMapping, reason: str, strike: bool, now: datetime) -> None:
    """End the attempt of ``row``; the analysis waits for another."""
    change(
        connection,
        row["id"],
        state=AnalysisState.QUEUED.value,
        lease_owner=None,
        strikes=row["strikes"] + int(strike),
        interruptions=row["interruptions"] + int(reason == INTERRUPTED),
    )
    _end_attempt(connection, row, reason, strike, now)


def reclaim(connection: Connection, now: datetime) -> list[str]:
    """Requeue everything that runs."""
    query = select(analyses).where(analyses.c.state == AnalysisState.RUNNING.value).order_by(analyses.c.create_us)
    rows = connection.execute(query).mappings().all()
    for row in rows:
        requeue(connection, row, INTERRUPTED, False, now)
    return [row["id"] for row in rows]


def begin(connection: Connection, row: RowMapping, started: Started, reuse: ReusePlan | None) -> int:
    """Put ``Started`` down as the first event, unless it is there; returns its position."""
    if row["started"] is None:
        change(
            connection,
            row["id"],
            started=encode(Started, started),
            reuse=None if reuse is None else encode(ReusePlan, reuse),
            last_sequence=1,
        )
    return 1


def finish(
    connection: Connection,
    row: RowMapping,
    event: Finished | Failed,
    state: AnalysisState,
    keys: Sequence[AnalyzerKey],
    now: datetime,
    spent: Spent | None = None,
) -> int:
    """Put the final event and state down; returns the event's position. What was kept for another attempt goes."""
    succeeded = isinstance(event, Finished)
    if succeeded != (state is AnalysisState.SUCCEEDED) or not state.ended:
        raise InternalError(f"a {type(event).__name__} does not end an analysis as {state}")
    if succeeded and row["started"] is None:
        raise InternalError("an analysis that never started cannot succeed")
    analysis_id, position = row["id"], int(row["last_sequence"]) + 1
    change(
        connection,
        analysis_id,
        state=state.value,
        end_us=to_us(now),
        last_sequence=position,
        lease_owner=None,
        whole=isinstance(event, Finished) and not event.partial,
        **{"result" if succeeded else "failure": encode(type(event), event)},
    )
    note_outcome(connection, row, event, state, now, spent or Spent())
    if row["state"] == AnalysisState.RUNNING:
        _end_attempt(connection, row, state.value, False, now)
    if keys:
        pairs = [{"analysis_id": analysis_id, "analyzer": each.analyzer, "key": each.key} for each in keys]
        connection.execute(insert(analyzer_keys), pairs)
    for table in (checkpoints, memos):
        connection.execute(delete(table).where(table.c.analysis_id == analysis_id))
    return position


def _end_attempt(connection: Connection, row: RowMapping, reason: str, strike: bool, now: datetime) -> None:
    this = (attempts.c.analysis_id == row["id"], attempts.c.token == row["lease_token"])
    connection.execute(update(attempts).where(*this).values(end_us=to_us(now), reason=reason, strike=strike))

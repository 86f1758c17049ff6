"""What became of analyses and what they took, summed up by the database; see ``pipeline.control_ports.StatisticsStore``.

Each analysis that ends leaves one row, in the transaction that ends it. Rows outlive their analyses, so that retention and clients
that delete what they have read do not change the past; they name no media, no tenant and no answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Double,
    RowMapping,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    not_,
    select,
    true,
)

from orchestrator.adapters.stores.codec import decode_json, encode_json, from_us, to_us
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.rows import record_of
from orchestrator.adapters.stores.schema import analyses, outcomes, segments
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.results import Failed, Finished
from orchestrator.core.statistics import Spent, Spread, Stats
from orchestrator.core.timeline import pts_to_ns
from orchestrator.pipeline.control_ports import AtWork

ANALYZED, SHARED = "analyzed", "shared"  # beside the ledger's names

Quantity = ColumnElement[float | Decimal]

_o = outcomes.c
_SUCCEEDED = _o.state == AnalysisState.SUCCEEDED.value


class SqlStatistics:
    """Statistics of the analyses in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stats(self, hours: float, until: datetime, profile: str = "") -> Stats:
        """See the port."""
        return await self._database.read(lambda sql: read_stats(sql, hours, until, profile))

    async def running(self) -> Sequence[AtWork]:
        """See the port."""
        return await self._database.read(_running)

    async def forget(self, before: datetime) -> int:
        """See the port."""
        old = delete(outcomes).where(_o.end_us < to_us(before))
        return await self._database.write(lambda sql: sql.execute(old).rowcount)


def note_outcome(
    connection: Connection,
    row: RowMapping,
    event: Finished | Failed,
    state: AnalysisState,
    now: datetime,
    spent: Spent,
) -> None:
    """Put down what became of the analysis of ``row``; what an earlier one of this id left gives way."""
    done = event if isinstance(event, Finished) else None
    frames = asdict(done.ledger) if done else {}
    given = spent.frames.values()
    frames |= {ANALYZED: sum(each[0] for each in given), SHARED: sum(each[1] for each in given)}
    values = {
        "analysis_id": row["id"],
        "profile": decode_json(row["spec"]).get("profile") or "default",
        "state": state.value,
        "reason": None if isinstance(event, Finished) else event.reason,
        "partial": done is not None and done.partial,
        "reused": row["reuse"] is not None,
        "create_us": row["create_us"],
        "start_us": row["start_us"],
        "end_us": to_us(now),
        "elapsed_ns": done and done.elapsed_ns,
        "media_ns": done and done.media_ns,
        "frames": encode_json(frames),
        "seconds": encode_json({name: round(seconds, 6) for name, seconds in spent.stages.items()}),
    }
    connection.execute(delete(outcomes).where(_o.analysis_id == row["id"]))
    connection.execute(insert(outcomes).values(values))


def read_stats(connection: Connection, hours: float, until: datetime, profile: str) -> Stats:
    """The analyses that ended within the ``hours`` before ``until``."""
    window = and_(_o.end_us >= to_us(until - timedelta(hours=hours)), _o.end_us < to_us(until))
    if profile:
        window = and_(window, _o.profile == profile)
    states = select(_o.state, func.count()).where(window).group_by(_o.state)
    reasons = select(_o.reason, func.count()).where(window, _o.reason.is_not(None)).group_by(_o.reason)
    totals = select(
        func.coalesce(func.sum(case((_o.partial, 1), else_=0)), 0),
        func.coalesce(func.sum(_seconds(_o.media_ns, 9)), 0.0),
    )
    partial, media_seconds = connection.execute(totals.where(window)).one()
    frames = {name: int(count) for name, count in sums(connection, "frames", window).items()}
    analyzed, shared = frames.pop(ANALYZED, 0), frames.pop(SHARED, 0)
    factor = cast(_o.elapsed_ns, Double) / cast(_o.media_ns, Double)
    return Stats(
        hours=hours,
        states={AnalysisState(state): count for state, count in connection.execute(states)},
        reasons=dict(map(tuple, connection.execute(reasons))),
        partial=int(partial),
        media_seconds=float(media_seconds),
        elapsed=_spread(connection, _seconds(_o.end_us - _o.start_us, 6), window, _o.start_us.is_not(None)),
        waiting=_spread(connection, _seconds(_o.start_us - _o.create_us, 6), window, _o.start_us.is_not(None)),
        realtime_factor=_spread(connection, factor, window, _SUCCEEDED, not_(_o.reused), _o.media_ns > 0),
        stages=sums(connection, "seconds", window),
        frames=frames,
        frames_analyzed=analyzed,
        frames_reused=shared,
    )


def _seconds(value: ColumnElement[int], digits: int) -> Quantity:
    return cast(value, Double) / 10.0**digits


def _spread(connection: Connection, value: Quantity, *where: ColumnElement[bool]) -> Spread:
    """Percentiles are values that were measured: the smallest that so large a share does not exceed."""
    count, mean, most = connection.execute(select(func.count(), func.avg(value), func.max(value)).where(*where)).one()
    if not count:
        return Spread()

    def percentile(share: float) -> float:
        rank = math.ceil(share * count)
        return float(
            connection.execute(select(value).where(*where).order_by(value).offset(rank - 1).limit(1)).scalar_one()
        )

    return Spread(count, float(mean), percentile(0.5), percentile(0.95), float(most))


def sums(connection: Connection, column: str, window: ColumnElement[bool]) -> dict[str, float]:
    """The numbers of a JSON column, summed up by name."""
    body = outcomes.c[column]
    if connection.dialect.name == "postgresql":
        pairs = func.json_each_text(cast(body, JSON)).table_valued("key", "value")
    else:
        pairs = func.json_each(body).table_valued("key", "value")
    total = func.sum(cast(pairs.c.value, Double))
    query = select(pairs.c.key, total).select_from(outcomes).join(pairs, true()).where(window).group_by(pairs.c.key)
    return {name: float(number) for name, number in connection.execute(query.order_by(pairs.c.key))}


def _running(connection: Connection) -> list[AtWork]:
    last = and_(segments.c.analysis_id == analyses.c.id, segments.c.number == analyses.c.segments - 1)
    query = select(analyses, segments.c.end_pts).outerjoin(segments, last)
    rows = connection.execute(query.where(analyses.c.state == AnalysisState.RUNNING.value)).mappings()
    return [_at_work(row) for row in rows]


def _at_work(row: RowMapping) -> AtWork:
    record = record_of(row)
    media, end = record.media, row["end_pts"]
    media_ns = pts_to_ns(end - media.start_pts, media.time_base) if media is not None and end is not None else 0
    return AtWork(record, row["lease_owner"], from_us(row["progress_us"] or row["start_us"]), media_ns)

"""What operators see, in a database; see ``pipeline.operation_ports.OperationsStore``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, case, delete, func, or_, select, update

from orchestrator.adapters.stores.codec import decode_json, encode_json, from_us, to_us
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.rows import INSERT
from orchestrator.adapters.stores.schema import alerts, analyses, outcomes, samples, silences
from orchestrator.adapters.stores.statistics import sums
from orchestrator.core.alerting import Alert, AlertFilter, Level, Silence
from orchestrator.core.jobs import AnalysisState, SourceKind
from orchestrator.core.statistics import Sample
from orchestrator.errors import NotFound
from orchestrator.pipeline.operation_ports import Backlog, Ends

DIGITS = 6  # of a measured value

_a = analyses.c


class SqlOperations:
    """See the port. Each method is one transaction, but for ``answer``, which is two."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def answer(self) -> None:
        """See the port. The second transaction takes the lock that every writer takes."""
        await self._database.read(_touch)
        await self._database.write(_touch)

    async def backlog(self) -> Backlog:
        """See the port."""
        return await self._database.read(read_backlog)

    async def ends(self, since: datetime) -> Ends:
        """See the port."""
        return await self._database.read(lambda sql: read_ends(sql, since))

    async def keep(self, alerts: Sequence[Alert]) -> None:
        """See the port."""
        await self._database.write(lambda sql: write_alerts(sql, alerts))

    async def alerts(self, query: AlertFilter, limit: int) -> Sequence[Alert]:
        """See the port."""
        return await self._database.read(lambda sql: read_alerts(sql, query, limit))

    async def unsettled(self, server: str) -> Sequence[Alert]:
        """See the port."""
        return await self._database.read(lambda sql: read_unsettled(sql, server))

    async def silences(self, now: datetime) -> Sequence[Silence]:
        """See the port."""
        return await self._database.read(lambda sql: read_silences(sql, now))

    async def silence(self, silence: Silence) -> None:
        """See the port."""
        await self._database.write(lambda sql: write_silence(sql, silence))

    async def end_silence(self, silence_id: str, now: datetime) -> None:
        """See the port."""
        await self._database.write(lambda sql: end_silence(sql, silence_id, now))

    async def add(self, sample: Sample) -> None:
        """See the port. Values keep six digits."""
        await self._database.write(lambda sql: write_sample(sql, sample))

    async def samples(self, since: datetime, until: datetime, points: int, server: str = "") -> Sequence[Sample]:
        """See the port."""
        return await self._database.read(lambda sql: read_samples(sql, since, until, points, server))

    async def prune(self, before: datetime) -> None:
        """See the port."""
        await self._database.write(lambda sql: prune(sql, before))

    async def bury(self, unheard_since: datetime, now: datetime) -> None:
        """See the port."""
        await self._database.write(lambda sql: bury(sql, unheard_since, now))


def _touch(connection: Connection) -> None:
    connection.execute(select(1)).scalar_one()


# --- analyses --------------------------------------------------------------------------------------------------------


def read_backlog(connection: Connection) -> Backlog:
    """See ``OperationsStore.backlog``. An analysis whose upload is not complete waits for its client, not for us."""
    unended = _a.state.in_([state.value for state in AnalysisState if not state.ended])
    waits = (_a.state == AnalysisState.QUEUED.value) & (
        (_a.source_kind == SourceKind.PATH.value) | _a.upload_complete.is_(True)
    )
    query = select(func.count(case((waits, 1))), func.min(case((waits, _a.create_us))), func.count()).where(unended)
    waiting, oldest, count = connection.execute(query).one()
    return Backlog(waiting, None if oldest is None else from_us(oldest), count)


def read_ends(connection: Connection, since: datetime) -> Ends:
    """See ``OperationsStore.ends``."""
    o, recent = outcomes.c, outcomes.c.end_us >= to_us(since)
    counted = select(o.reason, func.count()).where(recent, o.state != AnalysisState.CANCELLED.value).group_by(o.reason)
    counts: dict[str | None, int] = dict(map(tuple, connection.execute(counted)))
    frames = sums(connection, "frames", recent)
    succeeded = counts.pop(None, 0)
    failed = {str(reason): count for reason, count in counts.items()}
    return Ends(succeeded, failed, {name: int(frames.get(name, 0)) for name in ("expected", "dropped")})


# --- alerts ----------------------------------------------------------------------------------------------------------


def write_alerts(connection: Connection, found: Sequence[Alert]) -> None:
    """See ``OperationsStore.keep``."""
    for alert in found:
        row = {
            "id": alert.id,
            "server": alert.server,
            "component": alert.component,
            "level": alert.level.value,
            "summary": alert.summary,
            "value": alert.value,
            "raised_us": to_us(alert.raised),
            "changed_us": to_us(alert.changed),
            "resolved_us": alert.resolved and to_us(alert.resolved),
            "silenced_by": alert.silenced_by,
            "notified": alert.notified,
        }
        connection.execute(
            INSERT[connection.dialect.name](alerts).values(row).on_conflict_do_update(index_elements=["id"], set_=row)
        )


def read_alerts(connection: Connection, query: AlertFilter, limit: int) -> list[Alert]:
    """See ``OperationsStore.alerts``."""
    newest = (alerts.c.raised_us.desc(), alerts.c.id.desc())
    rows = connection.execute(select(alerts).where(*_conditions(query)).order_by(*newest).limit(limit)).mappings()
    return [_alert_of(row) for row in rows]


def read_unsettled(connection: Connection, server: str) -> list[Alert]:
    """See ``OperationsStore.unsettled``."""
    left = or_(alerts.c.resolved_us.is_(None), alerts.c.notified.is_(False))
    return [
        _alert_of(row)
        for row in connection.execute(select(alerts).where(alerts.c.server == server, left)).mappings().all()
    ]


def _conditions(query: AlertFilter) -> Iterator[ColumnElement[bool]]:
    if query.level is not None:
        yield alerts.c.level == query.level.value
    if query.component:
        pattern = query.component.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_").replace("*", "%")
        yield alerts.c.component.like(pattern, escape="\\")
    if query.open:
        yield alerts.c.resolved_us.is_(None)


def _alert_of(row: RowMapping) -> Alert:
    return Alert(
        id=row["id"],
        server=row["server"],
        component=row["component"],
        level=Level(row["level"]),
        summary=row["summary"],
        value=row["value"],
        raised=from_us(row["raised_us"]),
        changed=from_us(row["changed_us"]),
        resolved=None if row["resolved_us"] is None else from_us(row["resolved_us"]),
        silenced_by=row["silenced_by"],
        notified=row["notified"],
    )


# --- silences --------------------------------------------------------------------------------------------------------


def write_silence(connection: Connection, silence: Silence) -> None:
    """See ``OperationsStore.silence``."""
    row = {
        "id": silence.id,
        "pattern": silence.pattern,
        "until_us": to_us(silence.until),
        "who": silence.who,
        "why": silence.why,
        "create_us": to_us(silence.created),
    }
    connection.execute(silences.insert().values(row))


def read_silences(connection: Connection, now: datetime) -> list[Silence]:
    """See ``OperationsStore.silences``."""
    s = silences.c
    rows = connection.execute(select(silences).where(s.until_us > to_us(now)).order_by(s.until_us, s.id)).mappings()
    return [
        Silence(row["id"], row["pattern"], from_us(row["until_us"]), row["who"], row["why"], from_us(row["create_us"]))
        for row in rows
    ]


def end_silence(connection: Connection, silence_id: str, now: datetime) -> None:
    """See ``OperationsStore.end_silence``."""
    in_force = (silences.c.id == silence_id, silences.c.until_us > to_us(now))
    if not connection.execute(update(silences).where(*in_force).values(until_us=to_us(now))).rowcount:
        raise NotFound("no such silence is in force", silence_id=silence_id)


# --- samples ---------------------------------------------------------------------------------------------------------


def write_sample(connection: Connection, sample: Sample) -> None:
    """See ``OperationsStore.add``."""
    measured = encode_json({name: float(f"{value:.{DIGITS}g}") for name, value in sample.values.items()})
    row = {"server": sample.server, "time_us": to_us(sample.time), "measured": measured}
    connection.execute(INSERT[connection.dialect.name](samples).values(row).on_conflict_do_nothing())


def read_samples(connection: Connection, since: datetime, until: datetime, points: int, server: str) -> list[Sample]:
    """See ``OperationsStore.samples``: the last one of each of so many spans of time."""
    s, begin, end = samples.c, to_us(since), to_us(until)
    span = (end - begin) // points + 1
    spans = select(s.server, func.max(s.time_us).label("time_us")).where(s.time_us >= begin, s.time_us <= end)
    if server:
        spans = spans.where(s.server == server)
    last = spans.group_by(s.server, (s.time_us - begin) // span).subquery()
    chosen = (last.c.server == s.server) & (last.c.time_us == s.time_us)
    rows = connection.execute(select(samples).join(last, chosen).order_by(s.time_us, s.server))
    return [Sample(row.server, from_us(row.time_us), decode_json(row.measured)) for row in rows]


# --- the end of all that ---------------------------------------------------------------------------------------------


def prune(connection: Connection, before: datetime) -> None:
    """See ``OperationsStore.prune``."""
    at = to_us(before)
    connection.execute(delete(samples).where(samples.c.time_us < at))
    connection.execute(delete(alerts).where(alerts.c.resolved_us < at))
    connection.execute(delete(silences).where(silences.c.until_us < at))


def bury(connection: Connection, unheard_since: datetime, now: datetime) -> None:
    """See ``OperationsStore.bury``."""
    heard = select(samples.c.server).where(samples.c.time_us >= to_us(unheard_since)).distinct()
    gone = (alerts.c.resolved_us.is_(None), alerts.c.server.not_in(heard))
    at = to_us(now)
    connection.execute(update(alerts).where(*gone).values(resolved_us=at, changed_us=at, notified=True))

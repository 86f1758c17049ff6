"""What clients do with analyses: each function is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, exists, func, insert, select, text

from orchestrator.adapters.stores.codec import encode, to_us
from orchestrator.adapters.stores.leases import finish
from orchestrator.adapters.stores.rows import change, find, hold, record_of
from orchestrator.adapters.stores.schema import analyses, labels
from orchestrator.core.jobs import AnalysisRecord, AnalysisSpec, AnalysisState, SourceRef, UploadState, same_request
from orchestrator.core.results import Failed
from orchestrator.errors import (
    AnalysisCancelled,
    AnalysisNotEnded,
    FailedPrecondition,
    InternalError,
    InvalidRequest,
    QueueFull,
    RequestIdReused,
    UploadOutOfOrder,
)

_CREATE_LOCK = 0x637265617465  # PostgreSQL: creations go one by one, so that the limit is exact
_NOT_ENDED = [state.value for state in AnalysisState if not state.ended]


def create(
    connection: Connection, analysis_id: str, spec: AnalysisSpec, limit: int, clock: Callable[[], datetime]
) -> tuple[AnalysisRecord, bool]:
    """Queue an analysis, or find the one that this request made before. The clock is read once no other creation is under
    way: whoever lists by time of creation sees no analysis come up behind one that was there before."""
    _refuse_nul(spec)
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATE_LOCK})
    row = _made_before(connection, analysis_id, spec)
    if row is not None:
        return record_of(row), False
    unended = select(func.count()).select_from(analyses).where(analyses.c.state.in_(_NOT_ENDED))
    if connection.execute(unended).scalar_one() >= limit:
        raise QueueFull(f"{limit} analyses wait or run already", limit=limit)
    connection.execute(insert(analyses).values(_new_row(analysis_id, spec, clock())))
    if spec.labels:
        pairs = [
            {"analysis_id": analysis_id, "name": name, "value": value} for name, value in dict.fromkeys(spec.labels)
        ]
        connection.execute(insert(labels), pairs)
    return record_of(find(connection, analysis_id)), True


def _made_before(connection: Connection, analysis_id: str, spec: AnalysisSpec) -> RowMapping | None:
    """The same tenant and request id; or the same id, when the answer to a creation was lost on its way."""
    if spec.request_id:
        query = select(analyses).where(analyses.c.tenant == spec.tenant, analyses.c.request_id == spec.request_id)
        row = connection.execute(query).mappings().one_or_none()
        if row is not None:
            if not same_request(record_of(row).spec, spec):
                raise RequestIdReused("this request id was given to another request", request_id=spec.request_id)
            return row
    row = connection.execute(select(analyses).where(analyses.c.id == analysis_id)).mappings().one_or_none()
    if row is not None and record_of(row).spec != spec:
        raise InternalError("an analysis with this id exists already", analysis_id=analysis_id)
    return row


def _new_row(analysis_id: str, spec: AnalysisSpec, now: datetime) -> dict[str, object]:
    return {
        "id": analysis_id,
        "tenant": spec.tenant,
        "request_id": spec.request_id or None,
        "spec": encode(AnalysisSpec, spec),
        "source_kind": spec.source.kind.value,
        "source_name": spec.source.name,
        "source_size": spec.source.size,
        "priority": spec.priority,
        "state": AnalysisState.QUEUED.value,
        "create_us": to_us(now),
        "attempts": 0,
        "strikes": 0,
        "interruptions": 0,
        "segments": 0,
        "last_sequence": 0,
        "upload_committed": 0,
        "upload_complete": False,
        "cancel_requested": False,
        "whole": False,
        "lease_token": 0,
        "beats": 0,
    }


def _refuse_nul(spec: AnalysisSpec) -> None:
    """PostgreSQL's text knows no NUL; what one database takes, the other does too."""
    texts: Iterable[str] = (
        spec.tenant,
        spec.request_id,
        spec.source.name,
        *(part for pair in spec.labels for part in pair),
    )
    if any("\0" in each for each in texts):
        raise InvalidRequest("a name, label or path must not hold the character NUL")


def request_cancel(
    connection: Connection, analysis_id: str, now: datetime, terminated: str | None = None
) -> AnalysisRecord:
    """End a queued analysis; ask for the end of a running one. ``terminated``: why, when an operator asks."""
    row = hold(connection, analysis_id)
    state = AnalysisState(row["state"])
    if not state.ended and not row["cancel_requested"]:
        change(connection, analysis_id, cancel_requested=True, terminated=terminated)
        row = hold(connection, analysis_id)
    if state is AnalysisState.QUEUED:
        error = AnalysisCancelled.of(row["terminated"])
        event = Failed(error.reason, error.grpc_code, str(error), error.retryable)
        finish(connection, row, event, AnalysisState.CANCELLED, (), now)
    return record_of(find(connection, analysis_id))


def remove(connection: Connection, analysis_id: str) -> None:
    """Forget an ended analysis; what refers to it goes with it."""
    if not AnalysisState(hold(connection, analysis_id)["state"]).ended:
        raise AnalysisNotEnded("the analysis has not ended: cancel it first", analysis_id=analysis_id)
    connection.execute(delete(analyses).where(analyses.c.id == analysis_id))


def references(connection: Connection, source: SourceRef) -> int:
    """How many analyses have this source."""
    query = select(func.count()).select_from(analyses)
    query = query.where(analyses.c.source_kind == source.kind.value, analyses.c.source_name == source.name)
    return connection.execute(query).scalar_one()


def set_upload(connection: Connection, analysis_id: str, upload: UploadState) -> None:
    """Put down how much of its upload is on disk."""
    row = hold(connection, analysis_id)
    before = UploadState(row["upload_committed"], row["upload_complete"])
    if upload == before:
        return
    if AnalysisState(row["state"]).ended:
        raise FailedPrecondition("the analysis has ended", analysis_id=analysis_id)
    if before.complete or upload.committed < before.committed:
        raise UploadOutOfOrder(
            f"the upload stands at {before.committed}, not at {upload.committed}", committed=before.committed
        )
    size = upload.committed if upload.complete else row["source_size"]
    change(
        connection,
        analysis_id,
        upload_committed=upload.committed,
        upload_complete=upload.complete,
        source_size=size,
    )


def has_size(connection: Connection, size: int) -> bool:
    """Whether a succeeded analysis has a source of ``size`` bytes."""
    of_size = analyses.c.source_size == size
    query = select(exists().where(of_size, analyses.c.state == AnalysisState.SUCCEEDED.value))
    return bool(connection.execute(query).scalar_one())

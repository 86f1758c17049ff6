"""Listings, page by page: a page begins behind the last analysis of the page before, so new ones move nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import orjson
from sqlalchemy import ColumnElement, Connection, exists, select, tuple_

from orchestrator.adapters.stores.codec import to_us
from orchestrator.adapters.stores.rows import record_of
from orchestrator.adapters.stores.schema import analyses, labels
from orchestrator.core.jobs import AnalysisFilter, Page
from orchestrator.errors import InvalidRequest


def page(connection: Connection, query: AnalysisFilter, size: int, token: str) -> Page:
    """At most ``size`` analyses, newest first."""
    if size < 1:
        raise InvalidRequest(f"a page holds at least one analysis, got a size of {size}")
    statement = select(analyses).where(*_conditions(query))
    if token:
        statement = statement.where(tuple_(analyses.c.create_us, analyses.c.id) < tuple_(*_read_token(token, query)))
    statement = statement.order_by(analyses.c.create_us.desc(), analyses.c.id.desc()).limit(size + 1)
    rows = connection.execute(statement).mappings().all()
    last = rows[size - 1] if len(rows) > size else None
    records = tuple(record_of(row) for row in rows[:size])
    return Page(records, "" if last is None else _token(last["create_us"], last["id"], query))


def _conditions(query: AnalysisFilter) -> Iterator[ColumnElement[bool]]:
    if query.tenant is not None:
        yield analyses.c.tenant == query.tenant
    if query.states:
        yield analyses.c.state.in_([state.value for state in query.states])
    if query.created_after is not None:
        yield analyses.c.create_us >= to_us(query.created_after)
    if query.created_before is not None:
        yield analyses.c.create_us < to_us(query.created_before)
    for name, value in query.labels:
        yield exists().where(labels.c.analysis_id == analyses.c.id, labels.c.name == name, labels.c.value == value)


def _token(create_us: int, analysis_id: str, query: AnalysisFilter) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([create_us, analysis_id, _mark(query)])).decode("ascii")


def _read_token(token: str, query: AnalysisFilter) -> tuple[int, str]:
    try:
        create_us, analysis_id, mark = orjson.loads(base64.urlsafe_b64decode(token.encode("ascii")))
    except (ValueError, TypeError):
        raise InvalidRequest("this page token is none of ours") from None
    if not isinstance(create_us, int) or not isinstance(analysis_id, str) or mark != _mark(query):
        raise InvalidRequest("this page token belongs to another listing")
    return create_us, analysis_id


def _mark(query: AnalysisFilter) -> str:
    """Tells listings apart: the token of one does not go on with another."""
    instants = [each and to_us(each) for each in (query.created_after, query.created_before)]
    parts = [query.tenant, sorted(state.value for state in query.states), sorted(query.labels), instants]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:16]

"""Errors of the databases as ours. Native text stays in the cause: it may hold paths and addresses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from orchestrator.errors import DiskFull, InternalError, ReelsiftError, StoreUnavailable

_SQLITE_FULL = sqlite3.SQLITE_FULL
_SQLITE_AWAY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
    }
)
_SQLITE_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

# Classes and codes of PostgreSQL, appendix A of its manual.
_POSTGRES_FULL = "53100"
_POSTGRES_AWAY = ("08", "53", "57", "58", "55P03", "25006")
_POSTGRES_AGAIN = frozenset({"40001", "40P01"})  # serialization failure, deadlock


def may_repeat(error: exc.SQLAlchemyError) -> bool:
    """Whether the transaction was rolled back only for being in another's way."""
    return isinstance(error, exc.DBAPIError) and getattr(error.orig, "sqlstate", None) in _POSTGRES_AGAIN


def translated(error: exc.SQLAlchemyError) -> ReelsiftError:
    """The error of ours that says the same."""
    if isinstance(error, exc.TimeoutError):
        return StoreUnavailable("every connection to the database is in use")
    if isinstance(error, exc.DBAPIError):
        found = _sqlite(error.orig) if isinstance(error.orig, sqlite3.Error) else _postgres(error)
        if found is not None:
            return found
    return InternalError("the database refused a statement")


def _sqlite(error: sqlite3.Error) -> ReelsiftError | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest tells variants apart
    if code == _SQLITE_FULL:
        return DiskFull("no room for the database")
    if code in _SQLITE_AWAY:
        return StoreUnavailable("the database does not answer")
    if code in _SQLITE_DAMAGED:
        return InternalError("the database is damaged: restore a backup")
    return None


def _postgres(error: exc.DBAPIError) -> ReelsiftError | None:
    state = getattr(error.orig, "sqlstate", None)
    if state == _POSTGRES_FULL:
        return DiskFull("no room for the database")
    if state is None:  # no answer at all
        away = error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError)
    else:
        away = state in _POSTGRES_AGAIN or state.startswith(_POSTGRES_AWAY)
    return StoreUnavailable("the database does not answer") if away else None


@contextmanager
def typed_errors() -> Iterator[None]:
    """Inside, errors of the database come out as ours."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise translated(error) from error

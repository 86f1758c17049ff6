"""Snapshots of a shared database: every table as COPY writes it, all of one transaction (``pg_dump`` may not be installed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Inspector, inspect, text

from orchestrator.adapters.stores import migrate
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.manifest import PIECE_BYTES, Manifest
from orchestrator.adapters.stores.postgres import open_postgres
from orchestrator.adapters.stores.snapshots import CONTENTS, VERSIONS, Snapshot, named_by
from orchestrator.errors import InternalError, SetupError

SUFFIX = ".copy"
NOT_EMPTY = "the store is not empty: restore with --force to replace it, or into another database"


class PostgresSnapshots:
    """See ``Snapshots``. ``address``: ``postgresql://...``."""

    backend: ClassVar[str] = "postgresql"

    def __init__(self, address: str) -> None:
        self._address = address

    def take(self, folder: Path) -> Snapshot:
        """See ``Snapshots.take``. Writers go on: the transaction sees one state and holds nobody."""
        database = open_postgres(self._address)
        try:
            return database.read_now(lambda connection: _taken(connection, folder))
        finally:
            database.close()

    def check_free(self, *, force: bool) -> None:
        """See ``Snapshots.check_free``."""
        database = open_postgres(self._address)
        try:
            database.read_now(lambda connection: _check_free(connection, force))
        finally:
            database.close()

    def put_back(self, folder: Path, manifest: Manifest, *, force: bool) -> None:
        """See ``Snapshots.put_back``. All of it is one transaction, the tables included."""
        database: Database = open_postgres(self._address)
        try:
            database.write_now(lambda connection: _put_back(connection, folder, manifest, force))
        finally:
            database.close()


def _taken(connection: Connection, folder: Path) -> Snapshot:
    revision = migrate.revision(connection)
    if revision is None:
        raise SetupError("the database has no tables yet: start a server on it once")
    columns = {table: _columns(connection, table) for table in _tables(inspect(connection))}
    rows = {}
    for table, names in columns.items():
        statement = _copy(table, names, sql.SQL("TO STDOUT"))
        with (folder / f"{table}{SUFFIX}").open("xb") as file, _driver(connection).cursor() as cursor:
            with cursor.copy(statement) as pieces:
                for piece in pieces:
                    file.write(piece)
            rows[table] = cursor.rowcount
    return Snapshot(revision, rows, named_by(connection), columns)


def _check_free(connection: Connection, force: bool) -> None:
    others = connection.execute(
        text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'reelsift' AND pid <> pg_backend_pid()"
        )
    ).scalar_one()
    if others:
        raise SetupError(f"{others} connections of reelsift use this database: stop every server of it first")
    if not force and _holds_something(connection):
        raise SetupError(NOT_EMPTY)


def _holds_something(connection: Connection) -> bool:
    own = set(inspect(connection).get_table_names()) & set(CONTENTS)
    return any(connection.execute(text(f"SELECT 1 FROM {name} LIMIT 1")).first() is not None for name in own)


def _put_back(connection: Connection, folder: Path, manifest: Manifest, force: bool) -> None:
    _check_free(connection, force)
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    if migrate.revision(connection) != manifest.revision:
        for table in (*_tables(inspect(connection)), VERSIONS):
            _run(connection, sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(table)))
        migrate.upgrade_within(connection, manifest.revision)
    tables = _tables(inspect(connection))
    if missing := sorted(set(manifest.columns) - set(tables)):
        raise SetupError(f"the backup holds a table that this version does not know: {missing[0]}")
    _run(connection, sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, tables))))
    for table in tables:  # those that others refer to first
        if table in manifest.columns:
            _fill(connection, folder / f"{table}{SUFFIX}", table, manifest.columns[table], manifest.rows)
            _advance(connection, table, manifest.columns[table])


def _fill(connection: Connection, file: Path, table: str, columns: Sequence[str], rows: Mapping[str, int]) -> None:
    name = sql.Identifier(table)
    _run(
        connection, sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(name)
    )  # what they would write is in the backup
    with file.open("rb") as reading, _driver(connection).cursor() as cursor:
        with cursor.copy(_copy(table, columns, sql.SQL("FROM STDIN"))) as pieces:
            while piece := reading.read(PIECE_BYTES):
                pieces.write(piece)
        if cursor.rowcount != rows[table]:
            raise InternalError(f"the table {table} came back with {cursor.rowcount} rows instead of {rows[table]}")
    _run(connection, sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(name))


def _advance(connection: Connection, table: str, columns: Sequence[str]) -> None:
    """Let the table's sequences go on behind what is in it."""
    for column in columns:
        found = connection.execute(
            text("SELECT pg_get_serial_sequence(quote_ident(:table), :column)"), {"table": table, "column": column}
        ).scalar()
        if found is not None:
            _run(
                connection,
                sql.SQL("SELECT setval({}, coalesce(max({}), 0) + 1, false) FROM {}").format(
                    sql.Literal(found), sql.Identifier(column), sql.Identifier(table)
                ),
            )


def _tables(inspector: Inspector) -> list[str]:
    """Our tables, each behind those that it refers to."""
    names = [name for name, _ in inspector.get_sorted_table_and_fkc_names() if name is not None]
    return [name for name in names if name != VERSIONS]


def _columns(connection: Connection, table: str) -> tuple[str, ...]:
    """Those that hold values of their own: generated ones make themselves again."""
    query = text(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(:table)) AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
    )
    return tuple(connection.execute(query, {"table": table}).scalars())


def _copy(table: str, columns: Sequence[str], direction: sql.SQL) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) {}").format(sql.Identifier(table), names, direction)


def _run(connection: Connection, statement: sql.Composed) -> None:
    _driver(connection).execute(statement)


def _driver(connection: Connection) -> psycopg.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver

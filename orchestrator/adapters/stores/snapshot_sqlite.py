"""Snapshots of the embedded database.

SQLite's backup interface copies the file in one step under a shared lock, beside the server that has the database: readers
go on, and a commit waits for as long as the copy takes (memory speed, as the file that is copied is mostly in memory, and
the copy is brought onto its disk afterwards). In several steps each commit between two of them would begin the copy anew.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

from sqlalchemy import StaticPool, create_engine, exc, text

from orchestrator.adapters.stores import migrate, sqlite
from orchestrator.adapters.stores.faults import translated, typed_errors
from orchestrator.adapters.stores.manifest import Manifest
from orchestrator.adapters.stores.snapshots import CONTENTS, Snapshot, named_by
from orchestrator.errors import InternalError, SetupError

NOT_EMPTY = "the store is not empty: restore with --force to replace it, or into another REELSIFT_DATA_DIR"


class SqliteSnapshots:
    """See ``Snapshots``. ``data_dir`` holds the database."""

    backend: ClassVar[str] = "sqlite"

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file = data_dir / sqlite.FILE_NAME

    def take(self, folder: Path) -> Snapshot:
        """See ``Snapshots.take``. Raises ``InternalError`` for a damaged database."""
        if not self._file.is_file():
            raise SetupError("there is no database in this data directory: name the server's with REELSIFT_DATA_DIR")
        target = folder / sqlite.FILE_NAME
        copy(self._file, target)
        with typed_errors():
            return _described(target)

    def check_free(self, *, force: bool) -> None:
        """See ``Snapshots.check_free``."""
        with self._locked():
            self._check_free(force)

    def put_back(self, folder: Path, manifest: Manifest, *, force: bool) -> None:
        """See ``Snapshots.put_back``. The new file takes the place of the old one in one step."""
        with self._locked():
            self._check_free(force)
            incoming = self._data_dir / f"{sqlite.FILE_NAME}.incoming"
            incoming.unlink(missing_ok=True)
            shutil.copyfile(folder / sqlite.FILE_NAME, incoming)
            incoming.chmod(0o600)
            _sync(incoming)
            # A journal that the old file left would be applied to the new one.
            Path(f"{self._file}-journal").unlink(missing_ok=True)
            _sync(self._data_dir)
            incoming.replace(self._file)
            _sync(self._data_dir)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = sqlite.take(self._data_dir)
        try:
            yield
        finally:
            os.close(lock)

    def _check_free(self, force: bool) -> None:
        if not self._file.exists():
            return
        try:
            # Reading also rolls back what a process left half done: its journal is empty afterwards.
            with closing(_connect(self._file)) as connection:
                tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                own = [name for (name,) in tables if name in CONTENTS]
                empty = not any(connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in own)
        except sqlite3.DatabaseError:
            empty = False  # damaged: worth a look before it is thrown away
        if not empty and not force:
            raise SetupError(NOT_EMPTY)


def copy(source: Path, target: Path) -> None:
    """Copy a database that others may be writing, as it is between two commits, and bring the copy onto the disk.

    Raises ``StoreUnavailable``, ``DiskFull``, ``InternalError`` for a damaged one.
    """
    # ``rw``, as a reader must roll back what a dead writer left.
    with _typed(), closing(_connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        writing.execute("PRAGMA synchronous=OFF")
        writing.execute("PRAGMA journal_mode=OFF")
        reading.backup(writing, pages=-1, sleep=0.01)
    _sync(target)


def _described(file: Path) -> Snapshot:
    engine = create_engine("sqlite://", creator=lambda: _connect(file), poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            if (found := connection.execute(text("PRAGMA integrity_check(1)")).scalar()) != "ok":
                raise InternalError(f"the database is damaged, and so would be its backup: {found}")
            tables = connection.execute(
                text("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
            ).scalars()
            rows = {
                name: connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one() for name in tables.all()
            }
            revision = migrate.revision(connection)
            if revision is None:
                raise SetupError("the database has no tables yet: start a server on it once")
            return Snapshot(revision, rows, named_by(connection))
    finally:
        engine.dispose()


def _connect(file: Path) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=sqlite.BUSY_SECONDS, check_same_thread=False)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _typed() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise translated(exc.DBAPIError("copy", None, error)) from error

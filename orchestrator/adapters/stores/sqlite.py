"""The embedded database: one file in the data directory, which belongs to one process at a time.

Never WAL: two connections and a checkpoint can damage the file in every version before 3.51.3
(https://www.sqlite.org/wal.html#walresetbug), and distributions still ship those. A rollback journal that is emptied
instead of deleted, with ``synchronous=FULL``, brings a transaction onto the disk before its commit returns.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.faults import typed_errors
from orchestrator.errors import SetupError

FILE_NAME = "reelsift.db"
LOCK_NAME = "reelsift.lock"
READERS = 4
BUSY_SECONDS = 30.0  # a reader keeps a commit waiting, and a commit readers
JOURNAL_MODE = "truncate"

_PRAGMAS = (
    "auto_vacuum=INCREMENTAL",  # acts on a new file only, and before its first table
    f"journal_mode={JOURNAL_MODE}",
    "synchronous=FULL",
    "foreign_keys=ON",
    "trusted_schema=OFF",
    "temp_store=MEMORY",
    "cache_size=-16384",  # KiB
)


def open_sqlite(data_dir: Path) -> Database:
    """The database in ``data_dir``, which is made when it is missing. Raises ``SetupError`` while another process has it."""
    lock = take(data_dir)
    try:
        url = URL.create("sqlite", database=os.fspath(data_dir / FILE_NAME))
        with typed_errors():
            writing = make_engine(url, 1, "BEGIN IMMEDIATE")
            with writing.connect() as connection:
                if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != JOURNAL_MODE:
                    raise SetupError("the database cannot leave its journal mode: another program has it open")
        reading = make_engine(url, READERS, "BEGIN", "query_only=ON")
    except BaseException:
        os.close(lock)
        raise
    return Database(
        writing=writing,
        reading=reading,
        writers=1,
        readers=READERS,
        shared=False,
        on_close=lambda: os.close(lock),
    )


def make_engine(url: URL, connections: int, begin: str, *pragmas: str) -> Engine:
    """At most so many connections, each transaction begun with ``begin``."""
    engine = create_engine(
        url, poolclass=QueuePool, pool_size=connections, max_overflow=0, connect_args={"timeout": BUSY_SECONDS}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        cursor = connection.cursor()
        for pragma in (*_PRAGMAS, *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def take(data_dir: Path) -> int:
    """Take the data directory for this process, until the returned descriptor is closed; the kernel lets it go when the process
    dies, however it dies. Raises ``SetupError`` while another has it."""
    try:
        missing = [each for each in (data_dir, *data_dir.parents) if not each.exists()]
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in missing:
            _synchronise(each.parent)
        lock = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SetupError("the data directory cannot be used: choose another with REELSIFT_DATA_DIR") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise SetupError(
            f"another reelsift (process {owner}) uses this data directory: stop it, or choose another directory with"
            " REELSIFT_DATA_DIR, or let both use one PostgreSQL",
            process=owner,
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
    return lock


def _synchronise(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

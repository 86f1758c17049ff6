"""The shared database: PostgreSQL, for many processes on many machines."""

from __future__ import annotations

from sqlalchemy import create_engine, make_url

from orchestrator.adapters.stores.database import Database

WRITERS = 6
READERS = 6
CONNECT_SECONDS = 5

# Commits are on disk whatever the role's default says; a lock is not waited for forever; a process that is gone without
# a word gives its locks back within a minute.
_SETTINGS = (
    "synchronous_commit=on",
    "lock_timeout=10s",
    "idle_in_transaction_session_timeout=60s",
    "tcp_keepalives_idle=20",
    "tcp_keepalives_interval=10",
    "tcp_keepalives_count=3",
)


def open_postgres(address: str) -> Database:
    """The database at ``address`` (``postgresql://...``). Connections are made when they are needed, and tried before each use."""
    url = make_url(address).set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=WRITERS + READERS,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "reelsift",
            "options": " ".join(f"-c {setting}" for setting in _SETTINGS),
        },
    )
    return Database(
        writing=engine,
        reading=engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        writers=WRITERS,
        readers=READERS,
        shared=True,
        on_close=engine.dispose,
    )

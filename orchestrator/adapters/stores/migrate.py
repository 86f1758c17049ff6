"""Brings a database to the schema that this version knows, when it is opened."""

from __future__ import annotations

from pathlib import Path

import structlog
from sqlalchemy import Connection, inspect, text

from orchestrator.adapters.stores.database import Database
from orchestrator.errors import SetupError

HEAD = "0002"
"""The newest migration."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_POSTGRES_LOCK = 0x7265656C73696674  # "reelsift": two processes that open at once migrate one after the other

log = structlog.get_logger()


def upgrade(database: Database, target: str = HEAD) -> None:
    """Migrate up to ``target``, in one transaction. Raises ``SetupError`` for a database of a newer version."""
    database.write_now(lambda connection: _upgrade(connection, target))


def _upgrade(connection: Connection, target: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '15min'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _POSTGRES_LOCK})
    now = revision(connection)
    if now == target:
        return
    # Only now, because importing it takes longer than opening a database that is up to date.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if now is not None and now not in known:
        raise SetupError("the database was written by a newer version of reelsift: upgrade this one", revision=now)
    command.upgrade(config, target)
    log.info("database migrated", before=now or "new", after=target)


def revision(connection: Connection) -> str | None:
    """The migration that the database is at; ``None`` for a new one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()

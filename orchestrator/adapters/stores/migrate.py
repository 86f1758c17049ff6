"""Brings a database to the schema that this version knows, when it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection, inspect, text

from orchestrator.adapters.stores.database import Database
from orchestrator.errors import SetupError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0005"
"""The newest migration."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_POSTGRES_LOCK = 0x7265656C73696674  # "reelsift": two processes that open at once migrate one after the other

log = structlog.get_logger(__name__)


def upgrade(database: Database, target: str = HEAD) -> None:
    """Migrate up to ``target``, in one transaction. Raises ``SetupError`` for a database of a newer version."""
    database.write_now(lambda connection: upgrade_within(connection, target))


def upgrade_within(connection: Connection, target: str) -> None:
    """Migrate up to ``target``, inside the caller's transaction. Raises ``SetupError`` for a database of a newer version."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '15min'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _POSTGRES_LOCK})
    now = revision(connection)
    if now == target:
        return
    # Only now, because importing it takes longer than opening a database that is up to date.
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    if now is not None and now not in revisions():
        raise SetupError("the database was written by a newer version of reelsift: upgrade this one", revision=now)
    command.upgrade(config, target)
    log.info("database.migrated", before=now or "new", after=target)


def revision(connection: Connection) -> str | None:
    """The migration that the database is at; ``None`` for a new one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def revisions() -> frozenset[str]:
    """Every migration that this version knows."""
    from alembic.script import ScriptDirectory

    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config

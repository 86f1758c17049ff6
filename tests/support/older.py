"""What an older version would have stored."""

from __future__ import annotations

from sqlalchemy import MetaData, insert, select

from orchestrator.adapters.stores.database import Database


def copy_known(source: Database, target: Database) -> None:
    """Put into ``target``, which an older version made, what that version would have stored of ``source``."""
    known = MetaData()
    target.write_now(lambda sql: known.reflect(sql))
    with source.reading.begin() as reading, target.writing.begin() as writing:
        for table in known.sorted_tables:
            if table.name == "alembic_version" or table.name.startswith("search_"):
                continue
            rows = [dict(row) for row in reading.execute(select(*table.c)).mappings()]
            if rows:
                writing.execute(insert(table), rows)

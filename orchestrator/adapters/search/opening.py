"""The search index of a database, whichever it is."""

from __future__ import annotations

from orchestrator.adapters.search.postgres import PostgresSearchIndex
from orchestrator.adapters.search.sqlite import SqliteSearchIndex
from orchestrator.adapters.stores.database import Database
from orchestrator.pipeline.search_ports import SearchIndex


def search_index(database: Database) -> SearchIndex:
    """The index of ``database``, whose store commits with the indexer ``writing.index_segment``."""
    postgres = database.writing.dialect.name == "postgresql"
    return PostgresSearchIndex(database) if postgres else SqliteSearchIndex(database)

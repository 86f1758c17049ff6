"""A database as files, as it is at one instant, while others go on writing; and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from sqlalchemy import Connection, func, select

from orchestrator.adapters.stores.manifest import Manifest
from orchestrator.adapters.stores.schema import analyses, artifacts
from orchestrator.core.jobs import AnalysisState, SourceKind

FOLDER = "database"
"""Where in a backup the files of the database are."""

VERSIONS = "alembic_version"

CONTENTS = ("analyses", "model_rollouts")
"""The tables on which all others hang: with no row in them a store is empty."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a database names outside of itself: blobs with their sizes, and uploads that are still to be read, with the bytes
    that count."""

    blobs: Mapping[str, int]
    uploads: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was written into the folder. ``rows`` of each table; ``columns`` see ``Manifest``."""

    revision: str
    rows: Mapping[str, int]
    named: Named
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Snapshots(Protocol):
    """One kind of database."""

    backend: ClassVar[str]

    def take(self, folder: Path) -> Snapshot:
        """Write the database into ``folder``, which is empty. Raises ``StoreUnavailable``, ``SetupError`` when there is none."""
        ...

    def check_free(self, *, force: bool) -> None:
        """Raise ``SetupError`` when somebody uses the database, or when it is not empty (unless ``force``)."""
        ...

    def put_back(self, folder: Path, manifest: Manifest, *, force: bool) -> None:
        """Make the database what ``folder`` holds, all or nothing. Raises what ``check_free`` raises."""
        ...


def named_by(connection: Connection) -> Named:
    """What the database names."""
    blobs = connection.execute(select(artifacts.c.key, artifacts.c.size).where(artifacts.c.body.is_(None)))
    unended = [state.value for state in AnalysisState if not state.ended]
    uploads = connection.execute(
        select(analyses.c.source_name, func.max(analyses.c.upload_committed))
        .where(analyses.c.source_kind == SourceKind.UPLOAD.value, analyses.c.state.in_(unended))
        .where(analyses.c.upload_committed > 0)
        .group_by(analyses.c.source_name)
    )
    return Named(dict(map(tuple, blobs)), dict(map(tuple, uploads)))

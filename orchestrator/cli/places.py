"""Where a server keeps its things: the same settings as the server's, for commands that work on them directly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.adapters.blobs.opening import open_blobs
from orchestrator.cli.serve import settings_with
from orchestrator.ports import BlobStore
from orchestrator.settings import Settings

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The server's data directory (REELSIFT_DATA_DIR).")]
DatabaseAddress = Annotated[
    str | None, typer.Option("--database", help="postgresql://... of a shared database (REELSIFT_DATABASE).")
]


@dataclass(frozen=True, slots=True)
class Places:
    """``database``: an address, or the data directory of an embedded one."""

    settings: Settings
    database: str | Path
    blobs: BlobStore
    uploads: Path

    @property
    def embedded(self) -> bool:
        """Whether the database is a file in the data directory."""
        return isinstance(self.database, Path)


def places_of(data_dir: Path | None, database: str | None) -> Places:
    """The places of the environment's settings, overridden by what is given."""
    settings = settings_with({"data_dir": data_dir, "database": database})
    return Places(
        settings,
        database=settings.database or settings.data_dir,
        blobs=open_blobs(settings.blobs or settings.data_dir / "blobs", settings.blobs_endpoint),
        uploads=settings.spool_dir or settings.data_dir / "uploads",
    )

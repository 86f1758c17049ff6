"""``reelsift cleanup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from orchestrator import logs
from orchestrator.cli import exits, loop
from orchestrator.cli.places import DatabaseAddress, DataDir, Places, places_of

if TYPE_CHECKING:
    from orchestrator.pipeline.cleanup import Cleaned


def cleanup(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go; works beside a server.")] = False,
    data_dir: DataDir = None,
    database: DatabaseAddress = None,
) -> None:
    """Let go what the retention settings no longer keep, and what nothing names any more.

    A server does this by itself (REELSIFT_CLEANUP_SECONDS). By hand an embedded database can only be cleaned while no server uses it.
    """
    logs.configure("error")
    cleaned = loop.run(_clean(places_of(data_dir, database), dry_run))
    console = Console()
    if cleaned.removed:
        table = Table("what", "name", "size", "why", header_style="dim", box=None, padding=(0, 2))
        for removal in cleaned.removed:
            table.add_row(removal.kind.value, removal.name, decimal(removal.size), removal.reason.value)
        console.print(table)
    verb = "would go" if dry_run else "are gone"
    console.print(f"{len(cleaned.removed):,} things, {decimal(cleaned.size)}, {verb}")
    for removal, reason in cleaned.kept:
        typer.echo(f"left: {removal.kind.value} {removal.name} ({reason})", err=True)
    if cleaned.kept:
        raise typer.Exit(exits.FAILED)


async def _clean(places: Places, dry_run: bool) -> Cleaned:
    from orchestrator.adapters.blobs.local import LocalBlobs
    from orchestrator.adapters.stores.beside import open_beside
    from orchestrator.adapters.stores.keeping import SqlPast
    from orchestrator.adapters.stores.sql import open_store
    from orchestrator.pipeline.cleanup import Cleaner

    opened = open_beside(places.database) if dry_run else open_store(places.database)
    async with opened as store:
        cleaner = Cleaner(
            store,
            SqlPast(store.database),
            places.blobs,
            LocalBlobs(places.uploads),
            places.settings.retention.policies(),
        )
        return await cleaner.clean(dry_run=dry_run)

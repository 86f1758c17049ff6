"""``reelsift cleanup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from orchestrator import logs
from orchestrator.cli import exits, loop, operators
from orchestrator.cli.describe import printable
from orchestrator.cli.places import DatabaseAddress, DataDir, Places, places_of
from orchestrator.cli.servers import WhoOption, WhyOption, me

if TYPE_CHECKING:
    from orchestrator.api import messages as pb


def cleanup(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go; works beside a server.")] = False,
    data_dir: DataDir = None,
    database: DatabaseAddress = None,
    server: Annotated[str, typer.Option("--server", help="Have this server do it: HOST:PORT or unix:PATH.")] = "",
    why: WhyOption = "",
    who: WhoOption = "",
) -> None:
    """Let go what the retention settings no longer keep, and what nothing names any more.

    A server does this by itself (REELSIFT_CLEANUP_SECONDS), or now when asked with --server. By hand an embedded database can only be
    cleaned while no server uses it.
    """
    logs.configure("error")
    if server:
        cleaned = operators.ask(
            server, lambda operations: operations.clean_up(dry_run=dry_run, who=who or me(), why=why)
        )
    else:
        cleaned = loop.run(_clean(places_of(data_dir, database), dry_run))
    _tell(cleaned, dry_run=dry_run)
    if cleaned.kept_count:
        raise typer.Exit(exits.FAILED)


def _tell(cleaned: pb.CleanUpResponse, *, dry_run: bool) -> None:
    console = Console()
    gone = [each for each in cleaned.removals if not each.kept_because]
    if gone:
        table = Table("what", "name", "size", "why", header_style="dim", box=None, padding=(0, 2))
        for each in gone:
            table.add_row(each.kind, printable(each.name), decimal(each.size_bytes), each.reason)
        console.print(table)
    verb = "would go" if dry_run else "are gone"
    console.print(f"{cleaned.removed_count:,} things, {decimal(cleaned.removed_bytes)}, {verb}")
    for each in cleaned.removals:
        if each.kept_because:
            typer.echo(f"left: {each.kind} {printable(each.name)} ({each.kept_because})", err=True)


async def _clean(places: Places, dry_run: bool) -> pb.CleanUpResponse:
    from orchestrator.adapters.blobs.local import LocalBlobs
    from orchestrator.adapters.stores.beside import open_beside
    from orchestrator.adapters.stores.keeping import SqlPast
    from orchestrator.adapters.stores.sql import open_store
    from orchestrator.api import convert_operations as convert
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
        return convert.cleaned(await cleaner.clean(dry_run=dry_run))

"""``reelsift backup`` and ``reelsift restore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from orchestrator import logs
from orchestrator.cli import exits, loop
from orchestrator.cli.places import DatabaseAddress, DataDir, Places, places_of

if TYPE_CHECKING:
    from orchestrator.adapters.stores.backup import Place


def backup(
    folder: Annotated[
        Path, typer.Argument(help="Where to write the backup: a folder that is empty, or not there yet.")
    ],
    data_dir: DataDir = None,
    database: DatabaseAddress = None,
) -> None:
    """Back up the store, beside a server that is using it: the database as it is at one instant, and what it names.

    Exit status 3 when something that the database names was missing.
    """
    from orchestrator.adapters.stores.backup import back_up

    logs.configure("error")
    manifest = loop.run(back_up(_place(places_of(data_dir, database)), folder))
    size = sum(file.size for file in manifest.files.values())
    typer.echo(
        f"{manifest.rows.get('analyses', 0):,} analyses, {len(manifest.files):,} files, {decimal(size)} in {folder}"
    )
    for path in manifest.missing:
        typer.echo(f"missing: {path}", err=True)
    if manifest.missing:
        raise typer.Exit(exits.PARTIAL)


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup.", exists=True, file_okay=False)],
    data_dir: DataDir = None,
    database: DatabaseAddress = None,
    force: Annotated[bool, typer.Option("--force", help="Throw away what the store holds.")] = False,
) -> None:
    """Make the store what a backup holds. Stop every server of it first.

    The whole backup is read and compared with its digests before anything is touched.
    """
    from orchestrator.adapters.stores.backup import restore

    logs.configure("error")
    manifest = loop.run(restore(_place(places_of(data_dir, database)), folder, force=force))
    typer.echo(f"restored {manifest.rows.get('analyses', 0):,} analyses as they were at {manifest.time}")
    for path in manifest.missing:
        typer.echo(f"missing in the backup: {path}", err=True)
    if manifest.missing:
        raise typer.Exit(exits.PARTIAL)


def _place(places: Places) -> Place:
    from orchestrator.adapters.stores.backup import Place
    from orchestrator.adapters.stores.snapshot_postgres import PostgresSnapshots
    from orchestrator.adapters.stores.snapshot_sqlite import SqliteSnapshots

    address = places.database
    database = SqliteSnapshots(address) if isinstance(address, Path) else PostgresSnapshots(address)
    return Place(database, places.blobs, places.uploads)

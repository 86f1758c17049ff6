"""``reelsift backup`` and ``reelsift restore``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from orchestrator import logs
from orchestrator.cli import exits, loop
from orchestrator.cli.places import DatabaseAddress, DataDir, Places, places_of

if TYPE_CHECKING:
    from orchestrator.adapters.stores.backup import Place
    from orchestrator.adapters.stores.manifest import Manifest


def backup(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Where to write the backup: a folder that is empty, or not there yet; of --keep, that of all."
        ),
    ],
    data_dir: DataDir = None,
    database: DatabaseAddress = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read it back from the disk, and compare it with its digests.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1, help="Write it into FOLDER/TIME, verify it, and let all but the newest so many of FOLDER go."
        ),
    ] = None,
    keep_days: Annotated[
        float, typer.Option(min=0, help="Besides --keep: let none go that is younger than so many days.")
    ] = 0.0,
) -> None:
    """Back up the store, beside a server that is using it: the database as it is at one instant, and what it names.

    Exit status 3 when something that the database names was missing: such a backup makes no older one go.
    """
    from orchestrator.adapters.stores import series
    from orchestrator.adapters.stores.backup import back_up

    if keep_days and keep is None:
        raise typer.BadParameter("it goes with --keep", param_hint="--keep-days")
    logs.configure("error")
    place = _place(places_of(data_dir, database))
    gone: tuple[str, ...] = ()
    if keep is None:
        manifest = loop.run(back_up(place, folder))
        if verify:
            series.read_back(folder)
    else:
        added = loop.run(series.add(place, folder, series.Keep(keep, timedelta(days=keep_days))))
        folder, manifest, gone = added.folder, added.manifest, added.gone
    _tell(folder, manifest, verified=verify or keep is not None, gone=gone)
    if manifest.missing:
        raise typer.Exit(exits.PARTIAL)


def _tell(folder: Path, manifest: Manifest, *, verified: bool, gone: tuple[str, ...]) -> None:
    size = sum(file.size for file in manifest.files.values())
    typer.echo(
        f"{manifest.rows.get('analyses', 0):,} analyses, {len(manifest.files):,} files, {decimal(size)} in {folder}"
        + (", read back" if verified else "")
    )
    for name in gone:
        typer.echo(f"gone: {name}")
    for path in manifest.missing:
        typer.echo(f"missing: {path}", err=True)


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

"""``python -m export list|export|verify|clips``: the command line over `export.commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from export import commands
from export.clips import golden_clips
from export.errors import ExportError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Export models into the model repository.")
Repository = Annotated[Path, typer.Option(help="The model repository.")]
Names = Annotated[list[str] | None, typer.Argument(help="Model names; all when none is given.")]


@app.command("list")
def list_(repository: Repository = commands.DEFAULT_REPOSITORY) -> None:
    """Show every model and whether the repository holds its current version."""
    table = Table("model", "version", "state", "architecture", "licence")
    for status in commands.list_models(repository):
        spec = status.spec
        table.add_row(spec.name, str(spec.version), status.state, spec.architecture, spec.licence)
    Console().print(table)


@app.command("export")
def export_(
    names: Names = None,
    repository: Repository = commands.DEFAULT_REPOSITORY,
    force: Annotated[bool, typer.Option(help="Build even what is current.")] = False,
) -> None:
    """Fetch, build and verify models, and write them into the repository."""
    try:
        results = commands.export_models(names or (), repository, force)
    except ExportError as error:
        raise _failed(error) from error
    for result in results:
        Console().print(f"{result.name} {'built' if result.built else 'current'} {result.digest[:12]}")


@app.command("verify")
def verify_(names: Names = None, repository: Repository = commands.DEFAULT_REPOSITORY) -> None:
    """Measure the parity of the repository's models again."""
    try:
        results = commands.verify_models(names or (), repository)
    except ExportError as error:
        raise _failed(error) from error
    table = Table("model", "output", "max abs error", "tolerance", "frames")
    for name, parity in results.items():
        for output in parity.outputs:
            table.add_row(
                name,
                output.name,
                f"{output.max_abs_error:.2e}",
                f"{output.tolerance:.0e}",
                str(parity.frames),
            )
    Console().print(table)


@app.command("clips")
def clips_() -> None:
    """Print the paths of the golden clips, one a line; they are fetched on first use."""
    try:
        found = golden_clips()
    except ExportError as error:
        raise _failed(error) from error
    typer.echo("\n".join(map(str, found)))


def _failed(error: ExportError) -> typer.Exit:
    Console(stderr=True).print(f"[red]{type(error).__name__}[/red]: {error}")
    return typer.Exit(1)

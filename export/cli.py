"""``python -m export list|export|verify|sbom|precisions|clips``: the command line over `export.commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from export import commands, registry
from export.clips import golden_clips
from export.errors import ExportError
from export.spec import Precision, Target

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Export models into the model repository.")
Repository = Annotated[Path, typer.Option(help="The model repository.")]
Names = Annotated[list[str] | None, typer.Argument(help="Model names; all when none is given.")]


@app.command("list")
def list_(repository: Repository = commands.DEFAULT_REPOSITORY) -> None:
    """Show every version: what it is, whether it is as it was exported, and the licence of its weights."""
    whole = (Column(name, no_wrap=True) for name in ("version", "as", "state"))
    table = Table(*whole, Column("licence", min_width=12), Column("digest", no_wrap=True), box=None)
    for status in commands.list_models(repository):
        state = f"{status.state}, served" if status.served else status.state
        what = (f"{status.precision} {status.target}", state, status.licence, (status.digest or "")[:12])
        table.add_row(f"{status.spec.name} {status.version}", *what)
    Console().print(table)


@app.command("export")
def export_(
    names: Names = None,
    repository: Repository = commands.DEFAULT_REPOSITORY,
    precision: Annotated[Precision | None, typer.Option(help="Other than what is declared.")] = None,
    target: Annotated[Target, typer.Option(help="What a server reads.")] = "onnx",
    weights: Annotated[Path | None, typer.Option(help="A folder of own weights, for one model.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the own weights, as an SPDX expression.")] = None,
    force: Annotated[bool, typer.Option(help="Build even what is current.")] = False,
) -> None:
    """Fetch, build and verify models, and write them into the repository.

    What is not as the specs declare it becomes a further version, which nothing serves before it is staged.
    """
    try:
        for variant in commands.variants(names or (), precision, target, weights, licence):
            result = commands.export_variant(variant, repository, force)
            state = "built" if result.built else "current"
            Console().print(f"{result.name} {result.version} {state} {result.digest[:12]}", highlight=False)
    except ExportError as error:
        raise _failed(error) from error


@app.command("configs")
def configs_(
    names: Names = None,
    repository: Repository = commands.DEFAULT_REPOSITORY,
    architecture: Annotated[
        str | None, typer.Option(help="Also configs/engine.pbtxt, for GPUs of this architecture (9.0 or sm90).")
    ] = None,
) -> None:
    """Write the configs of models, without building any: config.pbtxt, and configs/ for NVIDIA's container on a GPU.

    Its tritonserver takes one of these by --model-config-name=cuda, tensorrt or engine.
    """
    try:
        served = commands.write_configs_of(names or (), repository, architecture)
    except ExportError as error:
        raise _failed(error) from error
    for each in served:
        Console().print(
            f"{each.name} {each.version} {each.file}{each.why and f' ({each.why})'}", highlight=False, soft_wrap=True
        )


@app.command("verify")
def verify_(names: Names = None, repository: Repository = commands.DEFAULT_REPOSITORY) -> None:
    """Check digests and external data of every version, ask for its golden answers, and measure parity again."""
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


@app.command("sbom")
def sbom_(names: Names = None, repository: Repository = commands.DEFAULT_REPOSITORY) -> None:
    """Write what the models are made of to standard output, as CycloneDX 1.6 JSON."""
    from export.sbom import sbom

    try:
        typer.echo(sbom(repository, names or ()))
    except ExportError as error:
        raise _failed(error) from error


@app.command("precisions")
def precisions_(names: Names = None) -> None:
    """Measure what fp32, int8 and fp16 cost on this CPU and how near they stay, as a Markdown table."""
    from export.precisions import measured, table

    try:
        typer.echo(table([row for spec in registry.specs(names or ()) for row in measured(spec)]))
    except ExportError as error:
        raise _failed(error) from error


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

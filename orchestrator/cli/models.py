"""``reelsift models``: what the model repository holds, and how it gets there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.serve import settings_with
from orchestrator.cli.tune import tune
from orchestrator.errors import SetupError

app = typer.Typer(no_args_is_help=True, help="Show, export and verify the models.")
Repository = Annotated[Path | None, typer.Option(help="The model repository.")]
Names = Annotated[list[str] | None, typer.Argument(help="Model names; all when none is given.")]

app.command("tune")(tune)


@app.command("list")
def list_models(repository: Repository = None) -> None:
    """Show every model and whether the repository holds it."""
    _export("list", repository)


@app.command("export")
def export_models(
    names: Names = None,
    repository: Repository = None,
    force: Annotated[bool, typer.Option(help="Build even what is current.")] = False,
) -> None:
    """Fetch weights, build the models and put them into the repository."""
    _export("export", repository, *(["--force"] if force else []), "--", *(names or []))


@app.command("verify")
def verify_models(names: Names = None, repository: Repository = None) -> None:
    """Measure the models against their source frameworks again."""
    _export("verify", repository, "--", *(names or []))


def _export(command: str, repository: Path | None, *arguments: str) -> None:
    """Run the export tool in a process of its own: the service and the export never import each other."""
    if importlib.util.find_spec("export") is None:
        raise SetupError(
            "the export tool is not installed here; use a checkout, or the package with its extra `export`"
        )
    folder = settings_with({"model_repository": repository}).model_repository
    line = [sys.executable, "-m", "export", command, "--repository", str(folder), *arguments]
    raise typer.Exit(subprocess.run(line, check=False).returncode)

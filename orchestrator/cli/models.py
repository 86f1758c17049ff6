"""``reelsift models``: what the model repository holds, how it gets there, and how it comes into service (``rollouts.py``)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import rollouts
from orchestrator.cli.compare import compare
from orchestrator.cli.serve import settings_with
from orchestrator.cli.servers import JsonOption
from orchestrator.cli.tune import tune
from orchestrator.errors import SetupError

app = typer.Typer(no_args_is_help=True, help="Show, export, verify and compare the models, and roll new versions out.")
Repository = Annotated[Path | None, typer.Option(help="The model repository.")]
Names = Annotated[list[str] | None, typer.Argument(help="Model names; all when none is given.")]


@app.command("list")
def list_models(repository: Repository = None, server: rollouts.Server = None, as_json: JsonOption = False) -> None:
    """Show every version: what it is, whether it is as it was exported, and the licence of its weights; or, of a server, what it is for."""
    if server is not None:
        rollouts.show_models(server, as_json=as_json)
    else:
        _export("list", repository)


@app.command("export")
def export_models(
    names: Names = None,
    precision: Annotated[str | None, typer.Option(help="fp32, fp16 or int8; other than what is declared.")] = None,
    target: Annotated[
        str | None, typer.Option(help="What a server reads: onnx, or tensorrt (on the GPU that is to run it).")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A folder of own weights, for one model.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the own weights, as an SPDX expression.")] = None,
    repository: Repository = None,
    force: Annotated[bool, typer.Option(help="Build even what is current.")] = False,
) -> None:
    """Fetch weights, build the models and put them into the repository."""
    given = {"--precision": precision, "--target": target, "--weights": weights, "--licence": licence}
    options = [text for key, value in given.items() if value is not None for text in (key, str(value))]
    _export("export", repository, *options, *(["--force"] if force else []), "--", *(names or []))


@app.command("verify")
def verify_models(names: Names = None, repository: Repository = None) -> None:
    """Check digests and golden answers of every version, and measure the models against their source frameworks again."""
    _export("verify", repository, "--", *(names or []))


@app.command("configs")
def write_configs(
    names: Names = None,
    architecture: Annotated[
        str | None, typer.Option(help="Also configs/engine.pbtxt, for GPUs of this architecture (9.0 or sm90).")
    ] = None,
    repository: Repository = None,
) -> None:
    """Write the models' configs, without building any: for the CPU, and for NVIDIA's container on a GPU."""
    options = [] if architecture is None else ["--architecture", architecture]
    _export("configs", repository, *options, "--", *(names or []))


@app.command("sbom")
def models_sbom(names: Names = None, repository: Repository = None) -> None:
    """Write what the models are made of to standard output, as CycloneDX 1.6 JSON."""
    _export("sbom", repository, "--", *(names or []))


app.command()(compare)
app.command()(tune)
for step in (
    rollouts.stage,
    rollouts.shadow,
    rollouts.canary,
    rollouts.promote,
    rollouts.rollback,
    rollouts.retire,
    rollouts.history,
):
    app.command()(step)


def _export(command: str, repository: Path | None, *arguments: str) -> None:
    """Run the export tool in a process of its own: the service and the export never import each other."""
    if importlib.util.find_spec("export") is None:
        raise SetupError(
            "the export tool is not installed here; use a checkout, or the package with its extra `export`"
        )
    folder = settings_with({"model_repository": repository}).model_repository
    line = [sys.executable, "-m", "export", command, "--repository", str(folder), *arguments]
    raise typer.Exit(subprocess.run(line, check=False).returncode)

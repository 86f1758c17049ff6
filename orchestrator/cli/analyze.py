"""``reelsift analyze``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, connect
from orchestrator.cli import exits, logs, loop
from orchestrator.cli.serve import settings_with
from orchestrator.cli.view import View

DRAIN_SECONDS = 5.0  # an analysis that has answered may still be putting its things away


def analyze(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The video.")],
    profile: Annotated[str, typer.Option(help="Name of a profile.")] = "default",
    analyzers: Annotated[str, typer.Option(help="Run only these, separated by commas.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One response per line as protobuf JSON.")] = False,
    server: Annotated[str | None, typer.Option(help="Upload to the server at HOST:PORT or unix:PATH.")] = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Write a page (HTML) of the results.")] = None,
    triton: Annotated[str | None, typer.Option(help="HOST:PORT of a Triton that runs elsewhere.")] = None,
    model_repository: Annotated[Path | None, typer.Option(help="Folder of the models.")] = None,
    profile_dir: Annotated[Path | None, typer.Option(help="Folder of further profiles (TOML).")] = None,
    upload_rate: Annotated[float | None, typer.Option(min=1, help="With --server: bytes per second at most.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Give up after so many seconds.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the service does.")] = False,
) -> None:
    """Analyse one video and show its segments as they close.

    Without --server the whole service runs inside this command.
    """
    names = tuple(name.strip() for name in analyzers.split(",") if name.strip())
    if report is not None and not report.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {report.parent}", param_hint="--report")
    logs.configure("info" if verbose else "warning")
    here = {"triton": triton, "model_repository": model_repository, "profile_dir": profile_dir}
    options = AnalysisOptions(profile=profile, analyzers=names, timeout=timeout)
    responses = _elsewhere(server, source, options, upload_rate) if server else _inside(here, source.resolve(), options)
    kept, finished = loop.run(_follow(responses, source.name, as_json=as_json, keep=report is not None))
    if report is not None:
        from orchestrator.cli.report import render

        report.write_text(render(kept, source.name), encoding="utf-8")
        sys.stderr.write(f"report: {report}\n")
    if finished.partial:
        raise typer.Exit(exits.PARTIAL)


async def _follow(
    responses: AsyncGenerator[pb.AnalyzeResponse, None], title: str, *, as_json: bool, keep: bool
) -> tuple[list[pb.AnalyzeResponse], pb.Finished]:
    """Show each response; returns those to keep, and the last one's summary."""
    kept: list[pb.AnalyzeResponse] = []
    finished = pb.Finished()
    async with aclosing(responses):
        with JsonLines() if as_json else View(Console(highlight=False), title) as output:
            async for response in responses:
                output.show(response)
                if keep:
                    kept.append(response)
                if response.HasField("finished"):
                    finished = response.finished
    return kept, finished


async def _elsewhere(
    address: str, source: Path, options: AnalysisOptions, bytes_per_second: float | None
) -> AsyncGenerator[pb.AnalyzeResponse, None]:
    """Upload to a server that runs already."""
    async with connect(address) as client:
        async for response in client.analyze_file(source, options, bytes_per_second=bytes_per_second):
            yield response


async def _inside(
    given: Mapping[str, object], path: Path, options: AnalysisOptions
) -> AsyncGenerator[pb.AnalyzeResponse, None]:
    """Start the whole service in this process, reachable through a private socket alone."""
    from orchestrator.app import running_app

    with tempfile.TemporaryDirectory(prefix="reelsift-") as folder:
        settings = settings_with(
            {**given, "listen": f"unix:{folder}/api", "roots": (path.parent,), "drain_seconds": DRAIN_SECONDS}
        )
        async with running_app(settings) as address, connect(address) as client:
            async for response in client.analyze_path(str(path), options):
                yield response


class JsonLines:
    """Prints each response as one line of protobuf JSON, at once."""

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, response: pb.AnalyzeResponse) -> None:
        """Print ``response``."""
        sys.stdout.write(pb.to_json(response) + "\n")
        sys.stdout.flush()

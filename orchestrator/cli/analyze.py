"""``reelsift analyze``."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import logs, tracing
from orchestrator.adapters.telemetry.tracing import tracing_to
from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ReelsiftClient, connect
from orchestrator.cli import exits, following, jobs, loop
from orchestrator.cli.inside import inside
from orchestrator.cli.serve import settings_with
from orchestrator.cli.servers import JsonOption, LabelOption, TenantOption, labels_of


def analyze(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The video.")],
    profile: Annotated[str, typer.Option(help="Name of a profile.")] = "default",
    analyzers: Annotated[str, typer.Option(help="Run only these, separated by commas.")] = "",
    as_json: JsonOption = False,
    server: Annotated[
        str | None, typer.Option(envvar="REELSIFT_SERVER", help="Upload to the server at HOST:PORT or unix:PATH.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="With --server: upload, print the analysis' id and leave.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, and how long it would take.")
    ] = False,
    tenant: TenantOption = "",
    label: LabelOption = None,
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="Higher goes first among those that wait.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute anew even what an earlier analysis of the same bytes answered.")
    ] = False,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Write a page (HTML) of the results.")] = None,
    triton: Annotated[str | None, typer.Option(help="HOST:PORT of a Triton that runs elsewhere.")] = None,
    model_repository: Annotated[Path | None, typer.Option(help="Folder of the models.")] = None,
    profile_dir: Annotated[Path | None, typer.Option(help="Folder of further profiles (TOML).")] = None,
    upload_rate: Annotated[float | None, typer.Option(min=1, help="With --server: bytes per second at most.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Give up after so many seconds.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the service does.")] = False,
) -> None:
    """Analyse one video and show its segments as they close.

    Without --server the whole service runs inside this command. With it, Ctrl-C cancels the analysis there.
    """
    names = tuple(name.strip() for name in analyzers.split(",") if name.strip())
    if report is not None and not report.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {report.parent}", param_hint="--report")
    if detach and (server is None or report is not None or dry_run):
        raise typer.BadParameter("it needs --server, and has nothing to report", param_hint="--detach")
    logs.configure("info" if verbose else "warning")
    here = {"triton": triton, "model_repository": model_repository, "profile_dir": profile_dir}
    options = AnalysisOptions(
        profile=profile,
        analyzers=names,
        priority=priority,
        timeout=timeout,
        tenant=tenant,
        labels=labels_of(label),
        ignore_known=fresh,
    )
    job = _Job(source, options, upload_rate, server, here)
    if dry_run:
        jobs.show_estimate(loop.run(job.estimate()), as_json=as_json)
        return
    if detach:
        sys.stdout.write(loop.run(job.leave()) + "\n")
        return
    shown = following.follow(job.responses(), source.name, as_json=as_json, keep=report is not None)
    kept, finished = loop.run(shown)
    if report is not None:
        from orchestrator.cli.analysis_page import render

        report.write_text(render(kept, source.name), encoding="utf-8")
        sys.stderr.write(f"report: {report}\n")
    if finished.partial:
        raise typer.Exit(exits.PARTIAL)


@dataclass(frozen=True, slots=True)
class _Job:
    """One video at one place: the server at ``server``, or without one a service of our own made of ``here``."""

    source: Path
    options: AnalysisOptions
    upload_rate: float | None
    server: str | None
    here: Mapping[str, object]

    async def responses(self) -> AsyncGenerator[pb.AnalyzeResponse, None]:
        """Analyse it."""
        async with self._client() as client:
            if self.server is None:
                responses = client.analyze_path(str(self.source.resolve()), self.options)
            else:
                uploaded = client.analyze_file(self.source, self.options, bytes_per_second=self.upload_rate)
                responses = following.cancelling(client, uploaded)
            async with aclosing(responses):
                async for response in responses:
                    yield response

    async def estimate(self) -> pb.Estimate:
        """What it would be and take."""
        async with self._client() as client:
            return await client.estimate(self._config())

    async def leave(self) -> str:
        """Upload it, and leave the rest to the server; returns the id. An interruption cancels it."""
        async with self._client() as client:
            analysis_id = (await client.create(self._config())).analysis.analysis_id
            async with following.or_cancelled(client, analysis_id):
                await client.upload(analysis_id, self.source, bytes_per_second=self.upload_rate)
            return analysis_id

    def _config(self) -> pb.AnalysisConfig:
        if self.server is None:
            return self.options.config(path=str(self.source.resolve()))
        length = self.source.stat().st_size if self.source.is_file() else None  # a pipe has no size
        config = self.options.config(content_length=length)
        if self.options.timeout is not None:  # no call lasts as long as the analysis: a moment must be named
            config.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=self.options.timeout))
        return config

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[ReelsiftClient]:
        if self.server is not None:
            settings = settings_with({})
            async with tracing_to(settings.trace_endpoint, settings.trace_share), connect(self.server) as client:
                with tracing.span("reelsift analyze", tracing.Kind.CLIENT):
                    yield client
            return
        async with inside(self.here, [self.source.resolve().parent]) as address, connect(address) as client:
            yield client

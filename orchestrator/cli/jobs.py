"""``reelsift jobs``: the analyses of a server."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from orchestrator.api import messages as pb
from orchestrator.api.client import ReelsiftClient, connect
from orchestrator.cli import describe, describe_jobs, exits, following, loop, tables
from orchestrator.cli.servers import DEFAULT, JsonOption, LabelOption, ServerOption, TenantOption, labels_of

PAGE = 200
COLUMNS = ("id", "state", "created", "segments", "source", "tenant", "labels")
ALWAYS = 4  # of them, never wrapped; the others only where one has something to say

app = typer.Typer(no_args_is_help=True, help="The analyses of a server: list, follow, cancel, retry, delete.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The analysis.")]
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="The analyses.")]

T = TypeVar("T")


class State(StrEnum):
    """States to list by."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"


_STYLES = {"succeeded": "green", "partial": "yellow", "failed": "red", "quarantined": "bold red", "running": "cyan"}


@app.command("list")
def list_(
    state: Annotated[list[State] | None, typer.Option(help="Only those in this state; may be given again.")] = None,
    tenant: TenantOption = "",
    label: LabelOption = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0 for all.")] = 50,
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """List analyses, newest first."""
    query = pb.ListAnalysesRequest(
        page_size=min(limit, PAGE) or PAGE,
        tenant=tenant,
        labels=labels_of(label),
        states=[pb.AnalysisState.Value(f"ANALYSIS_STATE_{each.name}") for each in state or ()],
    )

    async def collect(client: ReelsiftClient) -> list[pb.Analysis]:
        found: list[pb.Analysis] = []
        async for analysis in client.list(query):
            found.append(analysis)
            if len(found) == limit:
                break
        return found

    _show(_ask(server, collect), as_json=as_json)


@app.command()
def get(analysis: IdArgument, as_json: JsonOption = False, server: ServerOption = DEFAULT) -> None:
    """Tell everything of one analysis."""
    _show_one(_ask(server, lambda client: client.get(analysis)), as_json=as_json)


@app.command()
def watch(
    analysis: IdArgument,
    after: Annotated[int, typer.Option(min=0, help="Only what comes after this sequence.")] = 0,
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Follow an analysis to its end, from its beginning or from a sequence on. Ctrl-C leaves it alone."""

    async def show() -> pb.Finished:
        async with connect(server) as client:
            _, finished = await following.follow(client.watch(analysis, after), analysis, as_json=as_json)
            return finished

    if loop.run(show()).partial:
        raise typer.Exit(exits.PARTIAL)


@app.command()
def cancel(analyses: IdsArgument, server: ServerOption = DEFAULT) -> None:
    """Stop analyses, and wait until they have stopped."""

    async def each(client: ReelsiftClient) -> None:
        for analysis_id in analyses:
            await client.cancel(analysis_id)

    _ask(server, each)


@app.command()
def retry(
    analysis: IdArgument,
    whole: Annotated[bool, typer.Option("--whole", help="Do everything again.")] = False,
    analyzer: Annotated[str | None, typer.Option(help="Do this analyzer again.")] = None,
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Analyse the source of an ended analysis again, as a new one: by default what failed or has changed since."""
    if whole and analyzer is not None:
        raise typer.BadParameter("everything or one analyzer, not both", param_hint="--whole")
    again = _ask(server, lambda client: client.retry(analysis, whole=whole, analyzer=analyzer))
    if as_json:
        following.print_json(again)
    else:
        sys.stdout.write(f"{again.analysis_id}\n")


@app.command()
def delete(analyses: IdsArgument, server: ServerOption = DEFAULT) -> None:
    """Forget ended analyses: results, pictures and uploads."""

    async def each(client: ReelsiftClient) -> None:
        for analysis_id in analyses:
            await client.delete(analysis_id)

    _ask(server, each)


def _ask(server: str, question: Callable[[ReelsiftClient], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with connect(server) as client:
            return await question(client)

    return loop.run(ask())


def _show(analyses: list[pb.Analysis], *, as_json: bool) -> None:
    if as_json:
        for analysis in analyses:
            following.print_json(analysis)
        return
    tables.show(COLUMNS, [_cells(analysis) for analysis in analyses], always=ALWAYS)


def _cells(analysis: pb.Analysis) -> list[tables.Cell]:
    state = describe_jobs.state_name(analysis)
    return [
        (analysis.analysis_id, ""),
        (state, _STYLES.get(state, "")),
        (describe_jobs.moment(analysis.create_time), "dim"),
        (f"{analysis.segment_count:,}", ""),
        (describe_jobs.source_name(analysis.config), ""),
        (describe.printable(analysis.config.tenant), ""),
        (describe_jobs.labels(analysis.config), "dim"),
    ]


def _show_one(analysis: pb.Analysis, *, as_json: bool) -> None:
    if as_json:
        following.print_json(analysis)
    else:
        tables.console().print(tables.facts(describe_jobs.analysis_rows(analysis)))


def show_estimate(estimate: pb.Estimate, *, as_json: bool) -> None:
    """Show what an analysis would be and take."""
    if as_json:
        following.print_json(estimate)
    else:
        tables.console().print(tables.facts(describe_jobs.estimate_rows(estimate)))

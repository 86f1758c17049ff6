"""``reelsift sessions``: what runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from orchestrator.api import messages as pb
from orchestrator.cli import describe_jobs, following, operators, tables
from orchestrator.cli import describe_operations as describe
from orchestrator.cli.servers import DEFAULT, JsonOption, ServerOption, WhoOption, WhyOption, me

ALWAYS = 4
NUMBERS = ("factor", "runs", "idle", "segments", "attempt")

app = typer.Typer(cls=operators.ListsByDefault, help="The analyses that run: list (the default), terminate.")


@app.command("list")
def list_(watch: operators.WatchOption = False, as_json: JsonOption = False, server: ServerOption = DEFAULT) -> None:
    """Show what runs, longest first, at all servers of the database, and what is stuck."""
    if watch:
        operators.watch(server, lambda operations: operations.sessions(), _page)
        return
    found = operators.ask(server, lambda operations: operations.sessions())
    if as_json:
        for each in found:
            following.print_json(each)
    else:
        tables.console().print(_page(found))


@app.command()
def terminate(
    analysis: Annotated[str, typer.Argument(metavar="ID", help="The analysis.")],
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Cancel a running analysis, and wait until it has stopped. It keeps the segments that were told."""
    ended = operators.ask(server, lambda operations: operations.terminate(analysis, who=who or me(), why=why))
    if as_json:
        following.print_json(ended)
    else:
        typer.echo(f"{ended.analysis_id} {describe_jobs.state_name(ended)}, {ended.segment_count:,} segments stay")


def _page(sessions: Sequence[pb.Session]) -> RenderableType:
    if not sessions:
        return Text("nothing runs", style="dim")
    at = describe.now()
    rows = [describe.session_cells(each, at) for each in sessions]
    return tables.table(describe.SESSION_COLUMNS, rows, always=ALWAYS, right=NUMBERS)

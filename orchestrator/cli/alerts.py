"""``reelsift alerts``: what is or was wrong, and who is not to be told of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.api import messages as pb
from orchestrator.cli import describe_jobs, following, operators, tables
from orchestrator.cli import describe_operations as describe
from orchestrator.cli.describe import printable
from orchestrator.cli.servers import DEFAULT, JsonOption, ServerOption, WhoOption, WhyOption, me, seconds_of

ALWAYS = 4

app = typer.Typer(
    cls=operators.ListsByDefault, help="What is or was wrong: list (the default), silence, silences, unsilence."
)


class Level(StrEnum):
    """Levels to list by."""

    WARNING = "warning"
    CRITICAL = "critical"


@app.command("list")
def list_(
    level: Annotated[Level | None, typer.Option(help="Only those of this level.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that are not resolved.")] = False,
    component: Annotated[str, typer.Option(metavar="PATTERN", help="Only such, as 'disk/*'.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Show alerts of all servers of the database, newest first, and which page says what to do."""
    query = pb.ListAlertsRequest(
        level=pb.AlertLevel.ALERT_LEVEL_UNSPECIFIED
        if level is None
        else pb.AlertLevel.Value(f"ALERT_LEVEL_{level.name}"),
        open=is_open,
        component=component,
        limit=limit,
    )
    found = operators.ask(server, lambda operations: operations.alerts(query))
    if as_json:
        for each in found:
            following.print_json(each)
    elif found:
        at = describe.now()
        tables.show(describe.ALERT_COLUMNS, [describe.alert_cells(each, at) for each in found], always=ALWAYS)
    else:
        tables.console().print("no alerts", style="dim")


@app.command()
def silence(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="Of the components, as 'disk/*'.")],
    lasting: Annotated[float, typer.Option("--for", parser=seconds_of, metavar="DURATION", help="As 30m, 2h or 1d.")],
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Have nobody told of some alerts for a while; they are raised and resolved all the same."""
    made = operators.ask(server, lambda operations: operations.silence(pattern, lasting, who=who or me(), why=why))
    if as_json:
        following.print_json(made)
    else:
        typer.echo(f"{made.silence_id}: {printable(made.pattern)} until {describe_jobs.moment(made.until)}")


@app.command()
def silences(as_json: JsonOption = False, server: ServerOption = DEFAULT) -> None:
    """Show the silences in force."""
    found = operators.ask(server, lambda operations: operations.silences())
    if as_json:
        for each in found:
            following.print_json(each)
    elif found:
        tables.show(describe.SILENCE_COLUMNS, [describe.silence_cells(each) for each in found], always=3)
    else:
        tables.console().print("no silences", style="dim")


@app.command()
def unsilence(
    silence: Annotated[str, typer.Argument(metavar="ID", help="The silence.")], server: ServerOption = DEFAULT
) -> None:
    """End a silence now."""
    operators.ask(server, lambda operations: operations.end_silence(silence))

"""``reelsift health``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.api import messages as pb
from orchestrator.cli import describe_operations as describe
from orchestrator.cli import exits, following, operators, tables
from orchestrator.cli.servers import DEFAULT, JsonOption, ServerOption, seconds_of

ALWAYS = 3


def health(
    component: operators.PatternOption = None,
    lasting: Annotated[
        float | None,
        typer.Option("--for", parser=seconds_of, metavar="DURATION", help="Count what has lasted so long, as 10m."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Let a warning count, too.")] = False,
    watch: operators.WatchOption = False,
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Show how each part of a server is, the worst first, and which page says what to do.

    Exit status: 0 healthy, or there are warnings (it works); 1 something is critical, or nobody answers. With --strict a warning is 1, too.
    """
    if watch:
        operators.watch(server, lambda operations: operations.health(), lambda found: _page(chosen(found, component)))
        return
    found = chosen(operators.ask(server, lambda operations: operations.health()), component)
    if as_json:
        following.print_json(found)
    else:
        tables.console().print(_page(found))
    counts = pb.HealthStatus.HEALTH_STATUS_WARNING if strict else pb.HealthStatus.HEALTH_STATUS_CRITICAL
    if any(each.status >= counts and _lasted(each, found) >= (lasting or 0) for each in found.components):
        raise typer.Exit(exits.FAILED)


def chosen(health: pb.Health, patterns: list[str] | None) -> pb.Health:
    """``health`` with the components alone that ``patterns`` match, the worst first; all of them where there are no patterns."""
    kept = [
        each
        for each in health.components
        if not patterns or any(fnmatchcase(each.component, pattern) for pattern in patterns)
    ]
    kept.sort(key=lambda each: (-each.status, each.component))
    made = pb.Health(server=health.server, look_time=health.look_time, components=kept)
    made.status = max((each.status for each in kept), default=pb.HealthStatus.HEALTH_STATUS_HEALTHY)
    return made


def _lasted(component: pb.Component, health: pb.Health) -> float:
    """Seconds for which its status was what it is, when it was looked at."""
    return (health.look_time.ToDatetime() - component.since.ToDatetime()).total_seconds()


def _page(health: pb.Health) -> RenderableType:
    status = describe.status_name(health.status)
    rows = [describe.component_cells(each, health.look_time.seconds) for each in health.components]
    head = Text.assemble((status, describe.STYLES.get(status, "")), "  ", describe.health_line(health))
    return Group(head, Text(), tables.table(describe.HEALTH_COLUMNS, rows, always=ALWAYS, right=("value",)))

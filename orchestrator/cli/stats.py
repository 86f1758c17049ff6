"""``reelsift stats``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from orchestrator.api import messages as pb
from orchestrator.cli import describe_operations as describe
from orchestrator.cli import following, operators, tables
from orchestrator.cli.describe import printable
from orchestrator.cli.servers import DEFAULT, JsonOption, ServerOption
from orchestrator.core.capacity import work

BAR = 24  # characters of a whole

HoursOption = Annotated[float, typer.Option(min=0.01, max=8760, help="Of the last so many hours.")]
ProfileOption = Annotated[str, typer.Option(help="Only analyses of this profile.")]


def stats(
    hours: HoursOption = 24.0, profile: ProfileOption = "", as_json: JsonOption = False, server: ServerOption = DEFAULT
) -> None:
    """Show what the analyses came to that ended lately: totals, errors, durations, stages, frames."""
    found = operators.ask(server, lambda operations: operations.stats(hours, profile=profile))
    if as_json:
        following.print_json(found)
    else:
        for part in _parts(found):
            tables.console().print(part)


def _parts(stats: pb.Stats) -> Iterator[RenderableType]:
    yield tables.facts([("last", describe.lasting(stats.hours * 3600)), *describe.stats_rows(stats)])
    if describe.ended(stats):
        yield Text()
        yield tables.table(
            ("", "mean", "half within", "95 % within", "most"),
            [
                _spread("elapsed", stats.elapsed, "seconds"),
                _spread("waited", stats.waiting, "seconds"),
                _spread("realtime factor", stats.realtime_factor, "x"),
            ],
            always=5,
            right=("mean", "half within", "95 % within", "most"),
        )
    working = work(stats.stage_seconds)
    models = {name: seconds for name, seconds in stats.stage_seconds.items() if name.startswith("model/")}
    for name, values, unit in (
        ("error", stats.reasons, "analyses"),
        ("stage", working, "time"),
        ("of it, by model", models, "time"),
    ):
        if values:
            yield Text()
            yield tables.table((name, unit, "share", " "), list(_shares(values, unit)), always=3, right=(unit, "share"))


def _spread(name: str, spread: pb.Spread, unit: str) -> list[tables.Cell]:
    values = (spread.mean, spread.p50, spread.p95, spread.max)
    if not spread.count:
        return [(name, "cyan"), *[("-", "dim")] * len(values)]
    return [(name, "cyan"), *((f"{each:.2f}" if unit == "x" else describe.lasting(each), "") for each in values)]


def _shares(values: Mapping[str, float], unit: str) -> Iterator[list[tables.Cell]]:
    whole = sum(values.values()) or 1
    for name in sorted(values, key=lambda name: (-values[name], name)):
        share = values[name] / whole
        told = describe.lasting(values[name]) if unit == "time" else f"{values[name]:,}"
        yield [
            (printable(name), ""),
            (told, ""),
            (describe.quantity(share, "ratio"), ""),
            ("█" * round(share * BAR), "red" if unit == "analyses" else "blue"),
        ]

"""``reelsift capacity``: how many hosts a load needs, from what the service measured of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.api.convert_operations import sample_of, stats_of
from orchestrator.api.operations_client import OperationsClient
from orchestrator.cli import describe_operations as describe
from orchestrator.cli import operators, tables
from orchestrator.cli.servers import DEFAULT, ServerOption
from orchestrator.cli.stats import ProfileOption
from orchestrator.core import capacity as core
from orchestrator.core.statistics import Sample
from orchestrator.errors import FailedPrecondition

POINTS = 1000  # samples of a server in one answer: of a longer time, each is the mean of several


@dataclass(frozen=True, slots=True)
class Found:
    """What a plan rests on: ``hours`` that were measured."""

    hours: float
    rates: core.Rates


def capacity(
    load: Annotated[str, typer.Option(help="Such as '12 streams' (live) or '500 hours/day' (files).")],
    fps: Annotated[float | None, typer.Option(min=1, help="Of that media, if it is unlike what was measured.")] = None,
    profile: ProfileOption = "",
    days: Annotated[float, typer.Option(min=0.05, max=365, help="Measured over the last so many days.")] = 7.0,
    used: Annotated[float, typer.Option(min=0.1, max=1, help="Share of a resource that is planned with.")] = core.USED,
    peak: Annotated[
        float | None, typer.Option(min=1, help="Busiest hour over the mean, of files; measured when it is not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Tell how many hosts, and GPUs, a load needs, by the rates that were measured at the server's database."""
    try:
        wanted = core.parse_load(load, fps)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--load") from error
    found = operators.ask(server, lambda operations: measured(operations, days * 24, profile))
    try:
        made = core.plan(wanted, found.rates, used=used, peak=peak)
    except ValueError as error:
        raise FailedPrecondition(str(error)) from error
    if as_json:
        typer.echo(json.dumps({"hosts": made.hosts, "plan": asdict(made), "measured": asdict(found)}))
        return
    console = tables.console()
    console.print(tables.facts(list(_facts(load, wanted, found, made, used))), Text())
    rows = [[(need.resource, ""), (f"{need.carries:.2f}", ""), (str(need.hosts), "")] for need in made.needs]
    console.print(
        tables.table(("resource", "a host carries", "hosts"), rows, always=3, right=("a host carries", "hosts"))
    )
    console.print(Text())
    gpus = f", {made.gpus} GPUs" if made.gpus else ""
    console.print(Text(f"{made.hosts} host{'s' * (made.hosts != 1)}{gpus}", style="bold"))
    for note in _notes(wanted, found.rates, made, peak):
        console.print(Text(note, style="dim"))


async def measured(operations: OperationsClient, hours: float, profile: str = "") -> Found:
    """The rates of the last ``hours``, as far as samples go back. Raises ``FailedPrecondition`` where there are none."""
    samples = await _samples(operations, hours)
    hours = min(hours, core.span(samples)) or hours
    everything = stats_of(await operations.stats(hours))
    try:
        rates = core.rates(everything, samples)
    except ValueError as error:
        raise FailedPrecondition(str(error)) from error
    if profile:
        chosen = stats_of(await operations.stats(hours, profile=profile)).realtime_factor
        if not chosen.count:
            raise FailedPrecondition(f"nothing was analysed with the profile {profile} in that time")
        rates = rates.scaled(chosen.mean / everything.realtime_factor.mean)
    return Found(hours, rates)


async def _samples(operations: OperationsClient, hours: float) -> list[Sample]:
    """Those of the last ``hours``; of a service that is younger, as close to each other as they are kept."""
    found = [sample_of(each) for each in await operations.samples(hours)]
    if not found:
        return found
    age = (datetime.now(UTC) - min(sample.time for sample in found)).total_seconds() / 3600
    if not 0 < age < hours / 2:
        return found
    return [sample_of(each) for each in await operations.samples(age + hours / POINTS)]


def _facts(told: str, load: core.Load, found: Found, plan: core.Plan, used: float) -> Iterator[tuple[str, str]]:
    rates = found.rates
    at, when = f" at {load.fps:g} fps" if load.fps else "", "" if load.live else " in the busiest hour"
    yield "load", f"{told}{at}: {plan.rate:.4g} media seconds a second{when}"
    yield (
        "measured",
        f"{describe.lasting(found.hours * 3600)} at {rates.servers} server{'s' * (rates.servers != 1)}: "
        f"{rates.media_seconds / 3600:,.4g} hours of media at {rates.fps:.3g} fps",
    )
    yield "realtime factor", f"{rates.factor:.2f} in the mean, 95 % within {rates.slow_factor:.2f}"
    for name, cost in rates.costs.items():
        yield name, f"{cost.seconds:.4f} host seconds a media second, and {cost.idle * 100:.1f} % at rest"
    yield "planned with", f"{used * 100:.0f} % of each resource"


def _notes(load: core.Load, rates: core.Rates, plan: core.Plan, peak: float | None) -> Iterator[str]:
    if not load.live:
        known = "given" if peak else "measured" if rates.peak else "assumed: less than a day was measured"
        yield f"the busiest hour has {plan.peak:.2f} times the mean ({known})"
    elif not plan.keeps_up:
        yield "one stream in twenty takes longer than its media lasts: it would fall behind"
    if plan.needs[0].resource == "places" and len(plan.needs) > 1:
        yield f"more places (REELSIFT_MAX_RUNNING) would let {max(need.hosts for need in plan.needs[1:])} do"
    if load.fps:
        yield f"{rates.decoding * 100:.0f} % of the work is taken to grow with the frames, the rest not"

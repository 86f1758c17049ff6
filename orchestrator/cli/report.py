"""``reelsift report``: a page of how the service did, beside the time before. (The page of one analysis is ``analysis_page.py``.)"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.api import messages as pb
from orchestrator.api.convert_operations import sample_of, stats_of
from orchestrator.api.operations_client import OperationsClient
from orchestrator.cli import operators
from orchestrator.cli.servers import DEFAULT, ServerOption
from orchestrator.core.statistics import Sample, Stats

MAX_DAYS = 180.0  # twice as many fit into the hours that may be asked for
MAX_ALERTS = 1000


@dataclass(frozen=True, slots=True)
class Slots:
    """A period as ``count`` slots of ``hours`` each, up to ``end``."""

    count: int
    hours: float
    end: datetime

    @property
    def whole(self) -> float:
        """Hours of all."""
        return self.count * self.hours

    @property
    def begin(self) -> datetime:
        """Where the first begins."""
        return self.end - timedelta(hours=self.whole)

    @property
    def ends(self) -> list[datetime]:
        """The end of each."""
        return [self.begin + timedelta(hours=self.hours * (at + 1)) for at in range(self.count)]


@dataclass(frozen=True, slots=True)
class Period:
    """What analyses came to: in the whole, and slot by slot."""

    slots: Slots
    whole: Stats
    parts: Sequence[Stats]


@dataclass(frozen=True, slots=True)
class Past:
    """Two periods of one length, the later one last; the samples of both, and the later one's alerts."""

    before: Period
    now: Period
    samples: Sequence[Sample]
    alerts: Sequence[pb.Alert]


def report(
    days: Annotated[float, typer.Option(min=0.1, max=MAX_DAYS, help="Of the last so many days.")] = 7.0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the page is written.")] = Path("report.html"),
    server: ServerOption = DEFAULT,
) -> None:
    """Write a page of how the service did lately, beside the time before: throughput, realtime factor, errors, stages, machines, alerts."""
    from orchestrator.cli.report_page import render

    past = operators.ask(server, lambda operations: gather(operations, days, datetime.now(UTC)))
    out.write_text(render(past), encoding="utf-8")
    typer.echo(f"{out}")


async def gather(operations: OperationsClient, days: float, now: datetime) -> Past:
    """What the page tells of the ``days`` before ``now``, and of as many before them."""
    later = slots(days, now)
    earlier = slots(days, later.begin)
    samples = await operations.samples(2 * later.whole)
    alerts = await operations.alerts(pb.ListAlertsRequest(limit=MAX_ALERTS))
    return Past(
        await _period(operations, earlier),
        await _period(operations, later),
        [sample_of(each) for each in samples],
        [each for each in alerts if _touches(each, later.begin)],
    )


def slots(days: float, end: datetime) -> Slots:
    """Hours of up to two days, days of up to a month, weeks of more."""
    hours = 1.0 if days <= 2 else 24.0 if days <= 31 else 168.0
    return Slots(max(1, math.ceil(days * 24 / hours)), hours, end)


async def _period(operations: OperationsClient, slots: Slots) -> Period:
    async def ended(hours: float, until: datetime) -> Stats:
        return stats_of(await operations.stats(hours, until=until))

    whole = await ended(slots.whole, slots.end)
    return Period(slots, whole, [await ended(slots.hours, until) for until in slots.ends])


def _touches(alert: pb.Alert, begin: datetime) -> bool:
    """Whether it was open after ``begin``."""
    return not alert.HasField("resolve_time") or alert.resolve_time.ToDatetime(UTC) > begin

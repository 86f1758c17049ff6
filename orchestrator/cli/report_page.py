"""The page of ``reelsift report``: self-contained, no script, no request to anywhere. Every text is escaped by the template."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import fmean

from orchestrator import __version__
from orchestrator.api import messages as pb
from orchestrator.cli import charts
from orchestrator.cli.describe_operations import lasting, quantity
from orchestrator.cli.page import ENVIRONMENT
from orchestrator.cli.report import Past, Slots
from orchestrator.core import capacity
from orchestrator.core.statistics import Sample, Stats

TOP_REASONS, TOP_STAGES, TOP_ALERTS = 5, 9, 15
SLOW_FACTOR = 3.0  # processing seconds per media second; an alert is raised above it
PAUSE = 6  # samples that may be missing before a line breaks
SAME = 0.005  # a change that is none


@dataclass(frozen=True, slots=True)
class Fact:
    """A number, what it was before, and whether it is ``better``, ``worse`` or neither."""

    name: str
    value: str
    before: str
    change: str
    judged: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A chart of what machines measured, and its numbers in words."""

    title: str
    chart: charts.Lines
    note: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """The alerts of one component."""

    component: str
    level: str
    count: int
    open_for: str
    still: bool
    summary: str


def render(past: Past) -> str:
    """The page."""
    now, before = past.now, past.before
    names = [_slot_name(end, now.slots) for end in now.slots.ends]
    return ENVIRONMENT.get_template("report.html.j2").render(
        version=__version__,
        begin=now.slots.begin,
        end=now.slots.end,
        length=lasting(now.slots.whole * 3600),
        servers=sorted({sample.server for sample in past.samples}),
        facts=list(_facts(now.whole, before.whole)),
        throughput=charts.columns(
            names,
            {"media": [part.media_seconds / 3600 for part in now.parts]},
            lambda hours: f"{hours:,.4g} h",
            [part.media_seconds / 3600 for part in before.parts],
        ),
        factor=_factor(past),
        errors=_errors(names, now.parts),
        reasons=_reasons(now.whole, before.whole),
        stages=_stages(now.whole, before.whole),
        machines=list(_machines(past)),
        headroom=_headroom(past),
        troubles=_troubles(past.alerts, now.slots.end),
    )


def _slot_name(end: datetime, slots: Slots) -> str:
    begin = end - timedelta(hours=slots.hours)
    return begin.strftime("%H:%M" if slots.hours < 24 else "%a %d" if slots.count <= 14 else "%d %b")


def _facts(now: Stats, before: Stats) -> Iterator[Fact]:
    yield _fact("analyses ended", now.ended, before.ended, lambda value: f"{value:,.0f}", 0)
    yield _fact("succeeded", now.success_rate, before.success_rate, lambda value: quantity(value, "ratio"), 1)
    yield _fact("media", now.media_seconds / 3600, before.media_seconds / 3600, lambda value: f"{value:,.4g} h", 0)
    for name, one, other, words in (
        ("realtime factor, half within", now.realtime_factor.p50, before.realtime_factor.p50, "{:.2f}"),
        ("realtime factor, 95 % within", now.realtime_factor.p95, before.realtime_factor.p95, "{:.2f}"),
    ):
        yield _fact(name, one, other, words.format, -1)
    yield _fact("waited, 95 % within", now.waiting.p95, before.waiting.p95, lasting, -1)
    yield _fact("near-duplicates", now.duplicate_rate, before.duplicate_rate, lambda value: quantity(value, "ratio"), 0)
    yield _fact("frames lost", _lost(now), _lost(before), lambda value: quantity(value, "ratio"), -1)


def _lost(stats: Stats) -> float:
    """Share of the frames that should have been decoded."""
    lost = sum(stats.frames.get(name, 0) for name in ("corrupt", "dropped"))
    whole = lost + stats.frames.get("decoded", 0)
    return lost / whole if whole else 0.0


def _fact(name: str, now: float, before: float, words: Callable[[float], str], good: int) -> Fact:
    """``good``: 1 where more is better, -1 where less is, 0 where neither is."""
    change = (now - before) / before if before else 0.0
    judged = "" if not good or abs(change) < SAME else "better" if change * good > 0 else "worse"
    told = "" if not before else "the same" if abs(change) < SAME else f"{change * 100:+.1f} %"
    return Fact(name, words(now), words(before), told, judged)


def _factor(past: Past) -> charts.Lines:
    slots = past.now.slots
    half = timedelta(hours=slots.hours / 2)
    told = [
        (end - half, part.realtime_factor)
        for end, part in zip(slots.ends, past.now.parts, strict=True)
        if part.realtime_factor.count
    ]
    series = {
        "half within": [(time, spread.p50) for time, spread in told],
        "95 % within": [(time, spread.p95) for time, spread in told],
    }
    return charts.lines(slots.begin, slots.end, series, lambda value: f"{value:.3g}", limits={"too slow": SLOW_FACTOR})


def _errors(names: Sequence[str], parts: Sequence[Stats]) -> charts.Columns | None:
    counts: dict[str, int] = defaultdict(int)
    for part in parts:
        for reason, count in part.reasons.items():
            counts[reason] += count
    if not counts:
        return None
    top = sorted(counts, key=lambda reason: (-counts[reason], reason))[:TOP_REASONS]
    series = {reason: [float(part.reasons.get(reason, 0)) for part in parts] for reason in top}
    if len(counts) > len(top):
        series["others"] = [
            float(sum(count for reason, count in part.reasons.items() if reason not in top)) for part in parts
        ]
    return charts.columns(names, series, lambda value: f"{value:,.0f}")


def _reasons(now: Stats, before: Stats) -> list[tuple[str, int, int]]:
    """Every reason, how often it was one, and how often before."""
    found = [
        (reason, now.reasons.get(reason, 0), before.reasons.get(reason, 0))
        for reason in {**now.reasons, **before.reasons}
    ]
    return sorted(found, key=lambda row: (-row[1], -row[2], row[0]))


def _stages(now: Stats, before: Stats) -> charts.Bars | None:
    """The stages that take longest, in seconds per second of media."""
    spent, was = capacity.work(now.stages), capacity.work(before.stages)
    whole = sum(spent.values())
    if not (whole and now.media_seconds):
        return None
    rows: list[tuple[str, float, float | None, str]] = []
    for name in sorted(spent, key=lambda name: -spent[name])[:TOP_STAGES]:
        value = spent[name] / now.media_seconds
        earlier = was.get(name, 0.0) / before.media_seconds if before.media_seconds else None
        rows.append((name, value, earlier, f"{value:.2g} s ({spent[name] / whole * 100:.0f} %)"))
    return charts.bars(rows)


def _machines(past: Past) -> Iterator[Machine]:
    ratio: charts.Words = lambda value: f"{value * 100:.0f} %"
    size: charts.Words = lambda value: f"{value / 1e9:.3g} GB"
    count: charts.Words = lambda value: f"{value:.3g}"
    for title, name, words, top in (
        ("CPU", "cpu_ratio", ratio, 1.0),
        ("Memory of the service", "memory_bytes", size, 0.0),
        ("Analyses at work", "running", count, 1.0),
        ("Analyses waiting", "queued", count, 1.0),
        ("GPU", "gpu_ratio/", ratio, 1.0),
        ("NVDEC", "nvdec_ratio/", ratio, 1.0),
        ("Memory of the GPU", "gpu_memory_used_bytes/", size, 0.0),
        ("Free room", "disk_free_bytes/", size, 0.0),
    ):
        if series := _series(past.samples, name, past.now.slots.begin):
            yield _machine(title, series, past, name, words, top)


def _machine(
    title: str, series: dict[str, list[tuple[datetime, float]]], past: Past, name: str, words: charts.Words, top: float
) -> Machine:
    slots = past.now.slots
    earlier = [
        value
        for sample in past.samples
        if sample.time <= slots.begin
        for key, value in sample.values.items()
        if key.startswith(name)
    ]
    values = [value for points in series.values() for _, value in points]
    if name.startswith("disk_free"):
        left = [days for points in series.values() if (days := capacity.days_left(points)) is not None]
        note = f"now {', '.join(f'{words(points[-1][1])} ({label})' for label, points in series.items())}"
        note += f"; at this pace full in {lasting(min(left) * 86400)}" if left else "; it does not sink"
    else:
        note = f"mean {words(fmean(values))}, highest {words(max(values))}"
        note += f"; before {words(fmean(earlier))}, {words(max(earlier))}" if earlier else ""
    limits = {}
    if name == "running" and (places := max((each.values.get("places", 0.0) for each in past.samples), default=0.0)):
        limits["places"] = places
    apart = min(_apart(points) for points in series.values())
    chart = charts.lines(
        slots.begin, slots.end, series, words, limits=limits, top=top, pause=apart * PAUSE if apart else None
    )
    return Machine(title, chart, note)


def _series(samples: Iterable[Sample], name: str, begin: datetime) -> dict[str, list[tuple[datetime, float]]]:
    """Points of every server, or of every thing of every server, since ``begin``."""
    found: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for sample in samples:
        if sample.time <= begin:
            continue
        for key, value in sample.values.items():
            if key == name or (name.endswith("/") and key.startswith(name)):
                thing = key.partition("/")[2]
                found[f"{sample.server} {thing}" if thing else sample.server].append((sample.time, value))
    return dict(sorted(found.items()))


def _apart(points: Sequence[tuple[datetime, float]]) -> timedelta:
    """How far points usually are."""
    if len(points) < 2:
        return timedelta()
    distances = sorted(b[0] - a[0] for a, b in pairwise(points))
    return distances[len(distances) // 2]


def _headroom(past: Past) -> tuple[capacity.Plan, capacity.Rates] | None:
    """What the load of the period needs, by its own rates; ``None`` where they are not known."""
    slots = past.now.slots
    recent = [sample for sample in past.samples if sample.time > slots.begin]
    try:
        rates = capacity.rates(past.now.whole, recent)
        seen = (min(slots.whole, capacity.span(recent)) or slots.whole) * 3600
        return capacity.plan(capacity.Load(rates.media_seconds / seen, live=False), rates), rates
    except ValueError:
        return None


def _troubles(alerts: Iterable[pb.Alert], end: datetime) -> list[Trouble]:
    by_component: dict[str, list[pb.Alert]] = defaultdict(list)
    for alert in alerts:
        by_component[alert.component].append(alert)
    found = []
    for component, those in by_component.items():
        seconds = sum((_over(each, end) - each.raise_time.ToDatetime(UTC)).total_seconds() for each in those)
        level = pb.AlertLevel.Name(max(each.level for each in those)).removeprefix("ALERT_LEVEL_").lower()
        newest = max(those, key=lambda each: each.raise_time.ToDatetime())
        still = any(not each.HasField("resolve_time") for each in those)
        found.append((seconds, Trouble(component, level, len(those), lasting(seconds), still, newest.summary)))
    return [trouble for _, trouble in sorted(found, key=lambda each: (-each[0], each[1].component))[:TOP_ALERTS]]


def _over(alert: pb.Alert, end: datetime) -> datetime:
    return alert.resolve_time.ToDatetime(UTC) if alert.HasField("resolve_time") else end

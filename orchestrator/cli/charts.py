"""Charts of pages, worked out here and drawn by ``templates/charts.svg.j2`` as SVG inside the page. Lengths are the chart's own pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH, HEIGHT = 560.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 10.0, 12.0, 24.0  # margins, for the ticks' names
ROW = 30.0  # of a bar chart
TICKS = 5
GAP = 0.28  # of the room of a column
MOST_NAMES = 8  # below a chart

Ticks = tuple[tuple[float, str], ...]
Words = Callable[[float], str]


class Scale:
    """The values from ``low`` to ``high`` as places from ``start`` on, along ``length`` (negative: upwards)."""

    def __init__(self, start: float, length: float, low: float, high: float) -> None:
        self.start, self.length = start, length
        self.low, self.high = low, high if high > low else low + 1.0

    def at(self, value: float) -> float:
        """The place of ``value``."""
        return self.start + self.length * (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = TICKS) -> tuple[float, ...]:
        """Round values, ``most`` at most."""
        step = nice((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(number * step for number in range(first, last + 1))


def nice(step: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is no less than ``step``, which is above 0."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class Frame:
    """What is around a chart: its size, ticks of both axes, and limits that are drawn across (place and words)."""

    across: Ticks
    upwards: Ticks
    limits: Ticks = ()
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    base: float = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a column; ``kind`` numbers its series."""

    top: float
    height: float
    kind: int
    tip: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``before`` is the height to which an earlier one reached."""

    x: float
    width: float
    parts: tuple[Part, ...]
    before: float | None
    tip: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of stacked parts; ``names`` of the series, for the legend."""

    frame: Frame
    columns: tuple[Column, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines, each as the points of its parts; ``names`` of the series."""

    frame: Frame
    lines: tuple[tuple[int, tuple[str, ...]], ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: from 0 to ``end``, and where it was ``before``."""

    y: float
    name: str
    end: float
    before: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Rows under each other."""

    height: float
    left: float
    bars: tuple[Bar, ...]
    width: float = WIDTH
    row: float = ROW


def columns(
    names: Sequence[str], series: Mapping[str, Sequence[float]], words: Words, before: Sequence[float] | None = None
) -> Columns:
    """A column for each of ``names``, of the ``series`` stacked; ``before``: what the whole was at an earlier time."""
    totals = [sum(values[at] for values in series.values()) for at in range(len(names))]
    up = _upwards([0.0, *totals, *(before or ())])
    room = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    found = []
    for at, name in enumerate(names):
        top, parts = 0.0, []
        for kind, (label, values) in enumerate(series.items()):
            if values[at] > 0:
                low, top = up.at(top), top + values[at]
                tip = f"{name}: {words(values[at])}{f' {label}' if len(series) > 1 else ''}"
                parts.append(Part(up.at(top), low - up.at(top), kind, tip))
        was = None if before is None else up.at(before[at])
        said = "" if before is None else f"{name}: {words(before[at])} before"
        found.append(Column(LEFT + room * (at + GAP / 2), room * (1 - GAP), tuple(parts), was, said))
    every = math.ceil(len(names) / MOST_NAMES)
    across = tuple((LEFT + room * (at + 0.5), name) for at, name in enumerate(names) if at % every == 0)
    return Columns(Frame(across, _named(up, words)), tuple(found), tuple(series))


def lines(
    begin: datetime,
    end: datetime,
    series: Mapping[str, Sequence[tuple[datetime, float]]],
    words: Words,
    *,
    limits: Mapping[str, float] | None = None,
    top: float = 0.0,
    pause: timedelta | None = None,
) -> Lines:
    """A line for each of ``series`` from ``begin`` to ``end``. The scale reaches ``top`` at least, and takes in each limit that is near. A
    line breaks where nothing was measured for longer than ``pause``."""
    highest = max((value for points in series.values() for _, value in points), default=0.0)
    near = {name: value for name, value in (limits or {}).items() if value <= 2 * max(highest, top)}
    up = _upwards([0.0, highest, top, *near.values()])
    along = Scale(LEFT, WIDTH - LEFT - RIGHT, begin.timestamp(), end.timestamp())
    drawn = tuple(
        (kind, tuple(_parts(points, along, up, pause))) for kind, points in enumerate(series.values()) if points
    )
    across = tuple((along.at(time.timestamp()), name) for time, name in moments(begin, end))
    limited = tuple((up.at(value), name) for name, value in near.items())
    return Lines(Frame(across, _named(up, words), limited), drawn, tuple(series))


def _parts(points: Iterable[tuple[datetime, float]], along: Scale, up: Scale, pause: timedelta | None) -> Iterable[str]:
    last, part = None, ""
    for time, value in points:
        if part and pause is not None and last is not None and time - last > pause:
            yield part
            part = ""
        part += f"{' ' * bool(part)}{along.at(time.timestamp()):.1f},{up.at(value):.1f}"
        last = time
    yield part


def bars(rows: Sequence[tuple[str, float, float | None, str]], left: float = 150.0) -> Bars:
    """A bar for each row: its name, its value, what it was before, and what is written behind it."""
    most = max((max(value, before or 0.0) for _, value, before, _ in rows), default=0.0)
    along = Scale(left, WIDTH - left - 120.0, 0.0, most)
    made = tuple(
        Bar(ROW * at, name, along.at(value), None if before is None else along.at(before), text)
        for at, (name, value, before, text) in enumerate(rows)
    )
    return Bars(ROW * len(rows), left, made)


def moments(begin: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """Round moments between, with their names: full hours of a short time, days of a longer one."""
    days = (end - begin).total_seconds() / 86400
    if days <= 2:
        step = next(hours for hours in (1, 2, 3, 6, 12) if days * 24 / hours <= MOST_NAMES or hours == 12)
        first = begin.replace(hour=0, minute=0, second=0, microsecond=0)
        spread, form = timedelta(hours=step), "%H:%M"
    else:
        first = begin.replace(hour=0, minute=0, second=0, microsecond=0)
        spread, form = timedelta(days=math.ceil(days / MOST_NAMES)), "%d %b"
    count = math.ceil((end - first) / spread)
    return [
        (first + spread * at, (first + spread * at).strftime(form))
        for at in range(count)
        if first + spread * at >= begin
    ]


def _upwards(values: Iterable[float]) -> Scale:
    """From 0 at the base to a round value above all."""
    scale = Scale(HEIGHT - BOTTOM, -(HEIGHT - TOP - BOTTOM), 0.0, max(values))
    step = nice((scale.high - scale.low) / TICKS)
    return Scale(scale.start, scale.length, 0.0, step * math.ceil(scale.high / step - 1e-9))


def _named(scale: Scale, words: Words) -> Ticks:
    return tuple((scale.at(value), words(value)) for value in scale.ticks())

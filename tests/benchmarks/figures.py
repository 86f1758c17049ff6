"""What a benchmark says: per-round values, their median and spread, and whether a goal is met. Pure arithmetic."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

OURS = "reelsift"
OVER_LIMIT = "frames/s over the limit"


@dataclass(frozen=True, slots=True)
class Run:
    """One contender's run. ``wall`` and ``cpu`` are seconds; ``cpu`` is user+system of its whole process tree.
    ``others``: cores that processes outside the benchmark took meanwhile, on average."""

    frames: int
    wall: float
    cpu: float
    others: float = 0.0

    def __post_init__(self) -> None:
        if self.frames <= 0 or self.wall <= 0 or self.cpu <= 0:
            raise ValueError(f"a run answers frames and takes time, got {self}")

    @property
    def rate(self) -> float:
        """Frames answered per second."""
        return self.frames / self.wall

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per frame answered."""
        return 1e3 * self.cpu / self.frames


def share_of_what_was_left(run: Run, limit: Run) -> float:
    """``run``'s rate over the limit of the cores that others left to it: what a busy machine can still say of P1."""
    cores = limit.cpu / limit.wall
    return run.rate / limit.rate * cores / max(0.1, cores - run.others)


def limit_of(frames: int, cpu_parts: Mapping[str, float], cores: int) -> Run:
    """The limit: bare parts, each measured alone, spread over all cores without any loss."""
    cpu = sum(cpu_parts.values())
    return Run(frames, cpu / cores, cpu)


@dataclass(frozen=True, slots=True)
class Bound:
    """A goal: the median is ``at least`` (else at most) ``value``."""

    value: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Whether ``value`` reaches the goal."""
        return value >= self.value if self.at_least else value <= self.value

    def score(self, value: float) -> float:
        """How far ``value`` reaches: 1 is the goal itself, more is better. Needs values above 0."""
        return value / self.value if self.at_least else self.value / value

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.value:g}"


def at_least(value: float) -> Bound:
    """A goal from below."""
    return Bound(value, at_least=True)


def at_most(value: float) -> Bound:
    """A goal from above."""
    return Bound(value, at_least=False)


@dataclass(slots=True)
class Figure:
    """One row of the table: a value per round. Without a ``bound`` it is there for comparison."""

    goal: str
    what: str
    case: str
    unit: str = ""
    bound: Bound | None = None
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and greatest round."""
        return min(self.values), max(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; ``None`` without one."""
        return None if self.bound is None else self.bound.met(self.median)


class Figures:
    """All rows, in the order in which they first got a value."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], Figure] = {}

    def add(self, goal: str, what: str, case: str, value: float, bound: Bound | None = None, unit: str = "") -> None:
        """Add one round's value. Raises ``ValueError`` for a value that is not finite."""
        if not math.isfinite(value):
            raise ValueError(f"{goal} {what} ({case}) is {value}")
        row = self._rows.setdefault((goal, what, case), Figure(goal, what, case, unit, bound))
        row.values.append(value)

    @property
    def rows(self) -> list[Figure]:
        """By number of the goal; rows of one goal as they came."""
        return sorted(self._rows.values(), key=lambda row: int(row.goal.removeprefix("P")))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a contender stands in a case: its rate over the limit's, per round."""

    case: str
    who: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.values)


def standings(figures: Iterable[Figure]) -> list[Standing]:
    """Every contender's rate over the limit, case by case as they came, the fastest first."""
    found: dict[str, list[Standing]] = {}
    for figure in figures:
        who, _, what = figure.what.rpartition(": ")
        if what == OVER_LIMIT:
            found.setdefault(figure.case, []).append(Standing(figure.case, who or OURS, tuple(figure.values)))
    return [each for case in found.values() for each in sorted(case, key=lambda standing: -standing.median)]

"""A tuning as one self-contained page: the verdict, a plot of every trial, and the table. No script, no request to anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator import __version__
from orchestrator.cli.tuning.tuner import Trial, Tuning
from orchestrator.core.tuning import Verdict

ROW, TOP, LABELS, PANEL, GAP = 30, 34, 300, 300, 60  # of the plot, in its own pixels
LEAST_SPAN = 0.05  # a scale shows so much on both sides of 1

_ENVIRONMENT = Environment(
    loader=PackageLoader("orchestrator.cli"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Mark:
    """The rounds of one trial in one panel, as x positions."""

    low: float
    high: float
    middle: float
    rounds: tuple[float, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One trial: ``kind`` is ``won``, ``lost`` or ``equal``."""

    y: float
    name: str
    kind: str
    marks: tuple[Mark, ...]
    said: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A scale of ratios: where it begins, where 1 is, and its ticks."""

    title: str
    left: float
    one: float
    ticks: tuple[tuple[float, str], ...]


def render(made: Tuning, facts: Mapping[str, str], title: str) -> str:
    """The page. ``facts``: what was measured, where and when, in words."""
    trials = list(_named(made))
    panels, rows = _plot(trials)
    return _ENVIRONMENT.get_template("tune.html.j2").render(
        title=title,
        version=__version__,
        facts=facts,
        made=made,
        trials=trials,
        panels=panels,
        rows=rows,
        width=LABELS + 2 * (PANEL + GAP),
        height=TOP + ROW * len(rows) + 10,
        panel=PANEL,
        top=TOP,
        half=ROW / 2,
    )


def _named(made: Tuning) -> Iterator[tuple[str, str, Trial]]:
    """Every trial with a name and a kind, in the order they were made."""
    yield "the present config against itself", "equal", made.control
    for trial in made.trials:
        yield str(trial.setting), _kind(trial), trial
    if made.confirmation is not None:
        yield "the winner against the present config", _kind(made.confirmation), made.confirmation


def _kind(trial: Trial) -> str:
    if trial.won:
        return "won"
    return "lost" if trial.lost or trial.duel.verdict is Verdict.SLOWER else "equal"


def _plot(trials: Sequence[tuple[str, str, Trial]]) -> tuple[tuple[Panel, ...], tuple[Row, ...]]:
    measured = [trial.duel for _, _, trial in trials if trial.duel.runs]
    scales = [_Scale(LABELS, [ratio for duel in measured for ratio in duel.rates])]
    scales.append(_Scale(LABELS + PANEL + GAP, [ratio for duel in measured for ratio in duel.cpus]))
    rows = []
    for number, (name, kind, trial) in enumerate(trials):
        duel = trial.duel
        marks = (scales[0].mark(duel.rates), scales[1].mark(duel.cpus)) if duel.runs else ()
        rows.append(Row(TOP + ROW * number, name, kind, marks, trial.said))
    titles = ("frames/s over the champion's (more is better)", "CPU a frame over the champion's (less is better)")
    panels = tuple(
        Panel(title, scale.left, scale.at(1.0), scale.ticks) for title, scale in zip(titles, scales, strict=True)
    )
    return panels, tuple(rows)


class _Scale:
    """Ratios as places in a panel that begins at ``left``."""

    def __init__(self, left: float, ratios: Sequence[float]) -> None:
        self.left = left
        self._low = min([1 - LEAST_SPAN, *ratios]) - 0.01
        self._high = max([1 + LEAST_SPAN, *ratios]) + 0.01

    def at(self, ratio: float) -> float:
        return self.left + PANEL * (ratio - self._low) / (self._high - self._low)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        span = self._high - self._low
        step = next((step for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if span / step <= 6), 2.0)
        numbers = range(int(self._low / step) + 1, int(self._high / step) + 1)
        return tuple((self.at(number * step), f"{number * step:.2f}") for number in numbers)

    def mark(self, ratios: Sequence[float]) -> Mark:
        ordered = sorted(ratios)
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        places = tuple(map(self.at, ordered))
        return Mark(places[0], places[-1], self.at(middle), places, f"{middle:.3f}")

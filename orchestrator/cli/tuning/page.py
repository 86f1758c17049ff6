"""A tuning as one self-contained page: the verdict, a plot of every trial, and the table. No script, no request to anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator import __version__
from orchestrator.cli.charts import Scale
from orchestrator.cli.page import ENVIRONMENT
from orchestrator.cli.tuning.tuner import Trial, Tuning
from orchestrator.core.tuning import Verdict

ROW, TOP, LABELS, PANEL, GAP = 30, 34, 300, 300, 60  # of the plot, in its own pixels
LEAST_SPAN = 0.05  # a scale shows so much on both sides of 1


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
    return ENVIRONMENT.get_template("tune.html.j2").render(
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
    scales = (
        _scale(LABELS, [ratio for duel in measured for ratio in duel.rates]),
        _scale(LABELS + PANEL + GAP, [ratio for duel in measured for ratio in duel.cpus]),
    )
    rows = []
    for number, (name, kind, trial) in enumerate(trials):
        duel = trial.duel
        marks = (_mark(scales[0], duel.rates), _mark(scales[1], duel.cpus)) if duel.runs else ()
        rows.append(Row(TOP + ROW * number, name, kind, marks, trial.said))
    titles = ("frames/s over the champion's (more is better)", "CPU a frame over the champion's (less is better)")
    panels = tuple(
        Panel(title, scale.start, scale.at(1.0), tuple((scale.at(value), f"{value:.2f}") for value in scale.ticks(6)))
        for title, scale in zip(titles, scales, strict=True)
    )
    return panels, tuple(rows)


def _scale(left: float, ratios: Sequence[float]) -> Scale:
    """Ratios as places in a panel that begins at ``left``."""
    return Scale(left, PANEL, min([1 - LEAST_SPAN, *ratios]) - 0.01, max([1 + LEAST_SPAN, *ratios]) + 0.01)


def _mark(scale: Scale, ratios: Sequence[float]) -> Mark:
    ordered = sorted(ratios)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    places = tuple(map(scale.at, ordered))
    return Mark(places[0], places[-1], scale.at(middle), places, f"{middle:.3f}")

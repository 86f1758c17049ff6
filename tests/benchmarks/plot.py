"""The plot: every contender's rate over the limit, case by case, and below it every round of every goal on one scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tests.benchmarks.figures import OURS, Figure, Standing, standings
from tests.benchmarks.page import number

MET, MISSED, INK, QUIET, BAND = "#2a7f62", "#b3412e", "#333333", "#8a93a0", "#f3f4f6"
FLOOR, CEILING = (
    0.05,
    2.0,
)  # scores are cut: a first segment faster than its bare cost has none, and one outlier would press the rest
ROW, HEAD, WIDTH = 0.27, 0.75, 10.0  # inches
LEFT, RIGHT = 0.42, 0.80  # where the scales begin and end, as parts of the width


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Write the figures: how contenders stand where the limit was measured, and those that have a goal."""
    cases, goals = standings(figures), [figure for figure in figures if figure.bound]
    plt.rcParams.update(
        {"svg.hashsalt": "reelsift", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    )
    parts: list[tuple[int, Callable[[Axes], None]]] = [
        (len(cases) + len({standing.case for standing in cases}), lambda axes: _contenders(axes, cases)),
        (len(goals) + len({goal.goal for goal in goals}), lambda axes: _goals(axes, goals)),
    ]
    parts = [part for part in parts if part[0]]
    height = sum(HEAD + ROW * rows for rows, _ in parts)
    figure, top = plt.figure(figsize=(WIDTH, height)), height
    for rows, fill in parts:
        bottom = top - HEAD - ROW * rows
        fill(figure.add_axes((LEFT, (bottom + 0.4) / height, RIGHT - LEFT, ROW * rows / height)))
        top = bottom
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _contenders(axes: Axes, cases: Sequence[Standing]) -> None:
    places = _rows(axes, [(standing.case, standing.who) for standing in cases])
    for place, standing in zip(places, cases, strict=True):
        colour = MET if standing.who == OURS else QUIET
        axes.barh(place, standing.median, height=0.62, color=colour, alpha=0.45)
        _dots(axes, place, standing.values, standing.median, colour)
        _note(axes, place, number(standing.median), INK)
    axes.set_title("frames/s over the limit: rounds and their median", loc="left", fontsize=10)
    _scale(axes, 1.0)


def _goals(axes: Axes, goals: Sequence[Figure]) -> None:
    places = _rows(axes, [(row.goal, f"{row.what}, {row.case}") for row in goals])
    for place, row in zip(places, goals, strict=True):
        assert row.bound is not None
        bound, colour = row.bound, MET if row.met else MISSED
        least = FLOOR * bound.value
        *scores, middle = (min(CEILING, bound.score(max(value, least))) for value in (*row.values, row.median))
        _dots(axes, place, scores, middle, colour)
        _note(axes, place, f"{number(row.median)}{' ' * bool(row.unit)}{row.unit}  ({bound})", colour)
    axes.set_title("how far each goal is reached (1: just so; more is better)", loc="left", fontsize=10)
    _scale(axes, CEILING)


def _rows(axes: Axes, rows: Iterable[tuple[str, str]]) -> list[int]:
    """Name the rows, under a heading for each group, with every other group on a band; returns their places from the top."""
    places: list[int] = []
    place, group, banded = -1, "", False
    for heading, label in rows:
        if heading != group:
            place, group, banded = place + 1, heading, not banded
            axes.annotate(heading, (-0.005, place), xycoords=_BESIDE, ha="right", va="center", weight="bold", color=INK)
            if banded:
                axes.axhspan(place - 0.5, place + 0.5, color=BAND, linewidth=0)
        place += 1
        places.append(place)
        if banded:
            axes.axhspan(place - 0.5, place + 0.5, color=BAND, linewidth=0)
        axes.annotate(label, (-0.005, place), xycoords=_BESIDE, ha="right", va="center", color=INK)
    axes.set_ylim(place + 0.5, -0.5)
    return places


_BESIDE = ("axes fraction", "data")


def _dots(axes: Axes, place: int, values: Sequence[float], middle: float, colour: str) -> None:
    axes.plot([min(values), max(values)], [place, place], "-", color=colour, linewidth=1)
    axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.5, markersize=4.5, markeredgewidth=0)
    axes.plot([middle], [place], "|", color=colour, markersize=12, markeredgewidth=2.5)


def _note(axes: Axes, place: int, text: str, colour: str) -> None:
    axes.annotate(text, (1.015, place), xycoords=_BESIDE, va="center", color=colour)


def _scale(axes: Axes, least: float) -> None:
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xlim(0, max(least, axes.get_xlim()[1]))
    axes.set_yticks([])
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)

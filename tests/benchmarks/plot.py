"""The plot: every round of every goal, on one scale where 1 is the goal and more is better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt

from tests.benchmarks.figures import Figure
from tests.benchmarks.page import number

MET, MISSED, INK = "#2a7f62", "#b3412e", "#333333"
FLOOR = 0.05  # a score for values so good that they have none (a first segment faster than its bare cost)


def draw(figures: Sequence[Figure], path: Path) -> None:
    """Write an SVG of the figures that have a goal."""
    rows = [figure for figure in figures if figure.bound]
    plt.rcParams.update(
        {"svg.hashsalt": "reelsift", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    )
    figure, axes = plt.subplots(figsize=(9, 0.8 + 0.34 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        assert row.bound is not None
        colour = MET if row.met else MISSED
        least = FLOOR * row.bound.value
        scores = [min(2.0, row.bound.score(max(value, least))) for value in row.values]
        axes.plot(scores, [place] * len(scores), "o", color=colour, alpha=0.35, markersize=5, markeredgewidth=0)
        middle = min(2.0, row.bound.score(max(row.median, least)))
        axes.plot([middle], [place], "|", color=colour, markersize=14, markeredgewidth=2.5)
        label = f"{number(row.median)}{' ' * bool(row.unit)}{row.unit}  ({row.bound})"
        axes.annotate(label, (1.01, place), xycoords=("axes fraction", "data"), va="center", color=colour)
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{row.goal}  {row.what}, {row.case}" for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("how far the goal is reached (1: just so; further right is better, cut at 2)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

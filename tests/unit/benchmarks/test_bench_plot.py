"""The plot says who was compared and which goals there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.figures import Figures, at_least, at_most

pytest.importorskip("matplotlib")

from tests.benchmarks.plot import draw


def test_contenders_and_goals_are_named_with_their_values(tmp_path: Path) -> None:
    figures = Figures()
    for value in (0.9, 1.1):
        figures.add("P1", "frames/s over the limit", "720p, every frame", value, at_least(0.95))
        figures.add("P1", "PyTriton: frames/s over the limit", "720p, every frame", value / 2)
        figures.add("P5", "first segment beyond its bare cost", "720p", -10 * value, at_most(100), "ms")
    draw(figures.rows, tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text()
    for expected in ("reelsift", "PyTriton", "720p, every frame", "0.500", "-10.0 ms", "1.000", "0.95"):
        assert expected in text


def test_the_same_figures_give_the_same_file(tmp_path: Path) -> None:
    figures = Figures()
    figures.add("P3", "frames/s over Ray Data", "720p", 4.0, at_least(3.5))
    draw(figures.rows, tmp_path / "one.svg")
    draw(figures.rows, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_text() == (tmp_path / "two.svg").read_text()

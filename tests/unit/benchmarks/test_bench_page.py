"""The table and the generated part of the performance page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import page
from tests.benchmarks.figures import Figures, at_least

ROOT = Path(__file__).resolve().parents[3]


def made_up() -> Figures:
    figures = Figures()
    for value in (0.9, 1.0, 1.1):
        figures.add("P1", "frames/s over the limit", "720p, 2 fps", value, at_least(1.0))
        figures.add("P1", "frames/s of the limit", "720p, 2 fps", 100 * value, unit="frames/s")
    return figures


def test_a_row_names_median_spread_goal_and_verdict() -> None:
    assert page.rows(made_up().rows) == [
        ("P1", "frames/s over the limit", "720p, 2 fps", "1.000", "0.900 .. 1.100", ">= 1", "yes"),
        ("P1", "frames/s of the limit", "720p, 2 fps", "100 frames/s", "90.0 .. 110", "", ""),
    ]


def test_the_table_is_markdown_with_aligned_columns() -> None:
    lines = page.table(("a", "long"), [("1", "2"), ("wide", "3")]).splitlines()
    assert lines == ["| a    | long |", "| ---- | ---- |", "| 1    | 2    |", "| wide | 3    |"]


def test_comparisons_stand_apart_from_goals() -> None:
    goals, rest = page.section(made_up().rows, {"Machine": "made up"}, "plot.svg").split("For comparison:")
    assert "- Machine: made up" in goals
    assert "![How contenders stand, and every round of every goal](plot.svg)" in goals
    assert "over the limit" in goals
    assert "of the limit" in rest
    assert "over the limit" not in rest


def test_only_the_part_between_the_markers_is_exchanged() -> None:
    before = f"# Ours\n\n{page.BEGIN}\nold\n{page.END}\n\nkept\n"
    after = page.replace(before, "new")
    assert after == f"# Ours\n\n{page.BEGIN}\n\nnew\n\n{page.END}\n\nkept\n"
    assert page.replace(after, "new") == after


@pytest.mark.parametrize("text", ["", f"{page.BEGIN}", f"{page.END} {page.BEGIN}", f"{page.BEGIN}{page.END}" * 2])
def test_a_page_without_one_pair_of_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the page needs"):
        page.replace(text, "new")


def test_the_committed_page_can_be_generated_into() -> None:
    assert "new" in page.replace((ROOT / "ops" / "performance.md").read_text(), "new")

"""The table, for the terminal and for the performance page, of which only the part between two markers is generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.benchmarks.figures import Figure

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
HEAD = ("goal", "what", "case", "median", "min .. max", "wanted", "met")


def rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """Cells of the table."""
    return [
        (
            figure.goal,
            figure.what,
            figure.case,
            f"{number(figure.median)}{' ' * bool(figure.unit)}{figure.unit}",
            " .. ".join(map(number, figure.spread)),
            str(figure.bound or ""),
            {True: "yes", False: "no", None: ""}[figure.met],
        )
        for figure in figures
    ]


def number(value: float) -> str:
    """Three digits or so."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [head, ["-" * width for width in widths], *cells]
    return "\n".join(f"| {' | '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))} |" for line in lines)


def section(figures: Sequence[Figure], facts: Mapping[str, str], plot: str) -> str:
    """The generated part: facts, plot, the goals, and what is there for comparison."""
    goals = [figure for figure in figures if figure.bound]
    rest = [figure for figure in figures if not figure.bound]
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    parts = [
        "\n".join(lines),
        f"![How contenders stand, and every round of every goal]({plot})",
        table(HEAD, rows(goals)),
    ]
    if rest:
        parts += ["For comparison:", table(HEAD[:5], [row[:5] for row in rows(rest)])]
    return "\n\n".join(parts)


def replace(page: str, generated: str) -> str:
    """``page`` with its generated part exchanged. Raises ``ValueError`` when it has not exactly one pair of markers."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs one {BEGIN} and one {END} after it")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{rest.partition(END)[2]}"

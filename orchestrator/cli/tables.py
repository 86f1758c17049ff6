"""Tables of things that a server has: a row a thing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

PIPED_COLUMNS = 240

Cell = tuple[str, str]
"""Words, and their style."""


def show(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, always: int) -> None:
    """Print ``table``."""
    console().print(table(columns, rows, always=always))


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, always: int, right: Collection[str] = ()) -> Table:
    """``rows``. The first ``always`` columns are never wrapped; the others are there only where a row has something to say. Those named in
    ``right`` are numbers, which stand there."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    told = [number for number in range(len(columns)) if number < always or any(row[number][0] for row in rows)]
    for number in told:
        justify: JustifyMethod = "right" if columns[number] in right else "left"
        made.add_column(columns[number], overflow="fold", no_wrap=number < always, justify=justify)
    for row in rows:
        made.add_row(*(Text(row[number][0], style=row[number][1]) for number in told))
    return made


def facts(rows: Sequence[tuple[str, str]]) -> Table:
    """Names and words side by side; those without words are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, words in rows:
        if words:
            grid.add_row(Text(name), Text(words))
    return grid


def console() -> Console:
    """Where tables are printed."""
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = PIPED_COLUMNS  # another program reads it: a row is a line
    return made

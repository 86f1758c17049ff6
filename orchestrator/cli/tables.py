"""Tables of things that a server has: a row a thing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_COLUMNS = 240

Cell = tuple[str, str]
"""Words, and their style."""


def show(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, always: int) -> None:
    """Print ``rows``. The first ``always`` columns are never wrapped; the others are there only where a row has something to say."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    told = [number for number in range(len(columns)) if number < always or any(row[number][0] for row in rows)]
    for number in told:
        table.add_column(columns[number], overflow="fold", no_wrap=number < always)
    for row in rows:
        table.add_row(*(Text(row[number][0], style=row[number][1]) for number in told))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_COLUMNS  # another program reads it: a row is a line
    console.print(table)

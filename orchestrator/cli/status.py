"""``reelsift status``."""

from __future__ import annotations

from rich.text import Text

from orchestrator.cli import describe_operations as describe
from orchestrator.cli import following, operators, tables
from orchestrator.cli.servers import DEFAULT, JsonOption, ServerOption


def status(as_json: JsonOption = False, server: ServerOption = DEFAULT) -> None:
    """Show what a server can do, and why not; its versions; whether there is maintenance."""
    found = operators.ask(server, lambda operations: operations.status())
    if as_json:
        following.print_json(found)
        return
    rows = [describe.capability_cells(each) for each in found.capabilities]
    tables.console().print(
        tables.facts(describe.status_rows(found, describe.now())),
        Text(),
        tables.table(describe.CAPABILITY_COLUMNS, rows, always=2),
    )

"""``reelsift doctor``: what works on this machine, and how to mend what does not."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator import logs
from orchestrator.cli import exits, loop
from orchestrator.cli.checks import Check, State
from orchestrator.cli.places import DatabaseAddress, DataDir, places_of
from orchestrator.cli.serve import settings_with

_STYLES = {State.OK: "green", State.FAIL: "bold red", State.WARN: "yellow", State.INFO: "dim"}


def doctor(
    triton: Annotated[str | None, typer.Option(help="HOST:PORT of a Triton that runs elsewhere.")] = None,
    model_repository: Annotated[Path | None, typer.Option(help="Folder of the models.")] = None,
    fetch: Annotated[bool, typer.Option(help="Fetch Triton (55 MB, once) where it is missing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    store: Annotated[bool, typer.Option("--store", help="Check the stored analyses instead, beside a server.")] = False,
    data_dir: DataDir = None,
    database: DatabaseAddress = None,
) -> None:
    """Check everything that an analysis needs, or what is stored; exit status 1 when something needed fails."""
    logs.configure("error")
    if store:
        from orchestrator.cli.store_checks import examine_store

        checks = loop.run(examine_store(places_of(data_dir, database)))
    else:
        from orchestrator.cli.machine import examine

        settings = settings_with({"triton": triton, "model_repository": model_repository})
        checks = examine(settings, fetch=fetch)
    if as_json:
        lines = [{**asdict(check), "state": check.state.value} for check in checks]
        sys.stdout.write(json.dumps(lines, indent=2) + "\n")
    else:
        Console().print(_table(checks))
    if any(check.state is State.FAIL for check in checks):
        raise typer.Exit(exits.FAILED)


def _table(checks: list[Check]) -> Table:
    table = Table("check", "state", "found", header_style="dim", box=None, padding=(0, 2), expand=False)
    for check in checks:
        found = Text(check.found)
        if check.mend:
            found.append(f"\nmend: {check.mend}", style="bold")
        table.add_row(check.name, Text(check.state.value, style=_STYLES[check.state]), found)
    return table

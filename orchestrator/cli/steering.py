"""``reelsift drain``, ``maintenance`` and ``reload``: what an operator has a server do."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli import describe_operations as describe
from orchestrator.cli import following, operators, tables
from orchestrator.cli.describe import printable
from orchestrator.cli.servers import DEFAULT, JsonOption, ServerOption, WhoOption, WhyOption, me


class Switch(StrEnum):
    """Whether there is maintenance."""

    ON = "on"
    OFF = "off"


def drain(
    why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False, server: ServerOption = DEFAULT
) -> None:
    """Have a server end as it does for SIGTERM: no new analyses; what runs may finish for a while, the rest goes on elsewhere or later."""
    operators.ask(server, lambda operations: operations.drain(who=who or me(), why=why))
    _tell({"draining": True}, "it drains, and ends", as_json=as_json)


def maintenance(
    switch: Annotated[Switch, typer.Argument(metavar="on|off", help="Whether it is on from now on.")],
    why: Annotated[str, typer.Option("--why", help="The reason, which those are told who are refused.")] = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Have a server refuse new analyses, or take them again. What runs goes on; what is queued waits."""
    on = switch is Switch.ON
    if on and not why:
        raise typer.BadParameter("say --why: those are told who are refused", param_hint="--why")
    status = operators.ask(server, lambda operations: operations.set_maintenance(on, who=who or me(), why=why))
    if as_json:
        following.print_json(status)
    else:
        tables.console().print(tables.facts(describe.status_rows(status, describe.now())[:4]))


def reload(
    why: WhyOption = "", who: WhoOption = "", as_json: JsonOption = False, server: ServerOption = DEFAULT
) -> None:
    """Have a server read its settings anew, without a restart. Settings that are none, or that need a restart, are refused as a whole."""
    changed = list(operators.ask(server, lambda operations: operations.reload(who=who or me(), why=why)))
    told = f"changed: {', '.join(map(printable, changed))}" if changed else "nothing has changed"
    _tell({"changed": changed}, told, as_json=as_json)


def _tell(value: object, words: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(value) if as_json else words)

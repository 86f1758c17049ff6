"""What operators' commands share: asking a server, showing again and again, and groups that list when nothing else is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from rich.console import RenderableType
from rich.live import Live
from typer.core import TyperGroup

from orchestrator.api.client import Patience, connect
from orchestrator.api.operations_client import OperationsClient
from orchestrator.cli import loop, tables

WATCH_SECONDS = 5.0
SOON = Patience(seconds=5)  # an operator wants to know now

WatchOption = Annotated[bool, typer.Option("--watch", help="Show it again every 5 seconds, until Ctrl-C.")]
PatternOption = Annotated[
    list[str] | None, typer.Option("--component", metavar="PATTERN", help="Only such, as 'disk/*'; may be given again.")
]

T = TypeVar("T")


def ask(server: str, question: Callable[[OperationsClient], Awaitable[T]]) -> T:
    """The answer of ``server``."""

    async def once() -> T:
        async with connect(server, SOON) as client:
            return await question(client.operations)

    return loop.run(once())


def watch(
    server: str, question: Callable[[OperationsClient], Awaitable[T]], shown: Callable[[T], RenderableType]
) -> None:
    """Show the answer of ``server`` as it changes, until Ctrl-C."""

    async def again() -> None:
        with Live(console=tables.console(), screen=True, auto_refresh=False) as live:
            async with connect(server) as client:
                while True:
                    live.update(shown(await question(client.operations)), refresh=True)
                    await asyncio.sleep(WATCH_SECONDS)

    loop.run(again())


class ListsByDefault(TyperGroup):
    """Commands of which ``list`` is meant where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put it in."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)

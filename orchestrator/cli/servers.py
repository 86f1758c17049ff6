"""Options that every command shares which talks to a server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

DEFAULT = "127.0.0.1:50051"

ServerOption = Annotated[
    str, typer.Option("--server", envvar="REELSIFT_SERVER", help="HOST:PORT or unix:PATH of the server.")
]
TenantOption = Annotated[str, typer.Option(help="Whose it is.")]
LabelOption = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A mark of your own.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One protobuf JSON object per line.")]


def labels_of(given: Iterable[str] | None) -> dict[str, str]:
    """Labels of ``KEY=VALUE``."""
    labels = {}
    for each in given or ():
        key, equals, value = each.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{each!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels

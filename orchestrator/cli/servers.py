"""What commands share that talk to a server: options, and values of theirs."""

from __future__ import annotations

import getpass
import re
import socket
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
WhoOption = Annotated[str, typer.Option("--who", help="Whoever asks, for the history; USER@HOST when it is not given.")]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, for the history.")]

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhd])+")
_PART = re.compile(r"([0-9.]+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def me() -> str:
    """Whoever asks, where he is not named."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def seconds_of(given: str) -> float:
    """Seconds of a duration such as ``90s``, ``10m``, ``1h30m`` or ``2d``."""
    if not _DURATION.fullmatch(given):
        raise typer.BadParameter(f"{given!r} is no duration such as 90s, 10m, 1h30m or 2d")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(given))


def labels_of(given: Iterable[str] | None) -> dict[str, str]:
    """Labels of ``KEY=VALUE``."""
    labels = {}
    for each in given or ():
        key, equals, value = each.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{each!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels

"""``reelsift export``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from orchestrator.api.client import connect
from orchestrator.cli import loop
from orchestrator.cli.servers import DEFAULT, ServerOption
from orchestrator.core.exporting import FORMATS


def _known(name: str) -> str:
    if name not in FORMATS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(FORMATS)}")
    return name


def export(
    analysis: Annotated[str, typer.Argument(help="The id of an ended analysis.")],
    to: Annotated[str, typer.Option(callback=_known, metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="The file; else stdout.")
    ] = None,
    server: ServerOption = DEFAULT,
) -> None:
    """Write the results of an analysis as a file of other tools. A named file appears whole or not at all."""
    if output is not None:
        with _replacing(output) as file:
            loop.run(_copy(server, analysis, to, file))
    elif FORMATS[to].binary and sys.stdout.isatty():
        raise typer.BadParameter(f"{to} is binary: name a file, or redirect stdout", param_hint="--output")
    else:
        loop.run(_copy(server, analysis, to, sys.stdout.buffer))
        sys.stdout.buffer.flush()


async def _copy(address: str, analysis_id: str, file_format: str, file: BinaryIO) -> None:
    async with connect(address) as client:
        async for piece in client.export(analysis_id, file_format):
            file.write(piece)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` once it is whole, and vanishes otherwise. A pipe or a device is written
    to as it is."""
    path = path.resolve()
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}", param_hint="--output")
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("xb") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

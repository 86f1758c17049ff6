"""What this service rests on, and in which versions."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, files, version

from sqlalchemy import Connection, text

from orchestrator import __version__
from orchestrator.adapters.stores.database import Database

_LIBAV = re.compile(r"libavcodec-[0-9a-f]+\.so\.([0-9.]+)")


async def versions_of(database: Database) -> dict[str, str]:
    """By name; Triton's is known once it has answered. Raises ``StoreUnavailable``."""
    name, found = await database.read(_database)
    return {
        "reelsift": __version__,
        "python": platform.python_version(),
        "onnxruntime": _package("onnxruntime", "onnxruntime-gpu"),
        "libav": libav(),
        name: found,
    }


def libav() -> str:
    """Version of libavcodec as the decode workers load it, told by its file: no process but theirs may load it. Where it is the system's,
    that of the binding."""
    for file in files("av") or ():
        if found := _LIBAV.fullmatch(file.name):
            return f"libavcodec {found[1]}"
    return f"PyAV {version('av')}"


def _package(*names: str) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "not installed"


def _database(connection: Connection) -> tuple[str, str]:
    if connection.dialect.name == "postgresql":
        return "postgresql", str(connection.execute(text("SHOW server_version")).scalar_one())
    return "sqlite", str(connection.execute(text("SELECT sqlite_version()")).scalar_one())

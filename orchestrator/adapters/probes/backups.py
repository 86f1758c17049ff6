"""How old the newest backup is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.adapters.stores.manifest import Manifest
from orchestrator.core.health import Limits, Seen, measured, up
from orchestrator.errors import SetupError

HOUR = 3600.0


def _now() -> datetime:
    return datetime.now(UTC)


class Backups:
    """``backup``: seconds since the newest whole backup below ``folder``, which holds one in each of its folders. A backup has its manifest
    only when it was completed; whoever reads one back and finds it damaged takes the manifest away."""

    name = "backup"

    def __init__(self, folder: Path, limits: Limits, now: Callable[[], datetime] = _now) -> None:
        self._folder, self._limits, self._now = folder, limits, now

    async def look(self) -> Seen:
        """See the port. Raises ``OSError`` where the folder cannot be read."""
        newest = await asyncio.to_thread(newest_of, self._folder)
        if newest is None:
            values = {"backup_last_success_timestamp_seconds": 0.0}
            return Seen((up("backup", False, "there is no complete backup"),), values)
        age = (self._now() - newest).total_seconds()
        reading = measured("backup", age, "seconds", self._limits, f"the newest is {age / HOUR:.1f} hours old")
        return Seen(
            (reading,), {"backup_last_success_timestamp_seconds": newest.timestamp(), "backup_age_seconds": age}
        )


def newest_of(folder: Path) -> datetime | None:
    """When the newest whole backup was taken. Raises ``OSError``."""
    return max((time for each in folder.iterdir() if each.is_dir() and (time := _taken(each))), default=None)


def _taken(folder: Path) -> datetime | None:
    try:
        manifest = Manifest.read(folder)
    except SetupError:
        return None
    return None if manifest.missing else datetime.fromisoformat(manifest.time)

"""How old the newest backup is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.adapters.stores import series
from orchestrator.core.health import Limits, Seen, measured, up

HOUR = 3600.0


def _now() -> datetime:
    return datetime.now(UTC)


class Backups:
    """``backup``: seconds since the newest whole backup of the series in ``folder``. A backup has its manifest only when it was completed;
    whoever reads one back and finds it damaged takes the manifest away."""

    name = "backup"

    def __init__(self, folder: Path, limits: Limits, now: Callable[[], datetime] = _now) -> None:
        self._folder, self._limits, self._now = folder, limits, now

    async def look(self) -> Seen:
        """See the port. Raises ``OSError`` where the folder cannot be read."""
        newest = await asyncio.to_thread(series.newest, self._folder)
        if newest is None:
            values = {"backup_last_success_timestamp_seconds": 0.0}
            return Seen((up("backup", False, "there is no complete backup"),), values)
        taken = datetime.fromisoformat(newest.time)
        age = (self._now() - taken).total_seconds()
        reading = measured("backup", age, "seconds", self._limits, f"the newest is {age / HOUR:.1f} hours old")
        return Seen((reading,), {"backup_last_success_timestamp_seconds": taken.timestamp(), "backup_age_seconds": age})

"""Whether the database answers, and how quickly."""

from __future__ import annotations

import time

from orchestrator.core.health import Limits, Seen, measured
from orchestrator.pipeline.operation_ports import OperationsStore


class Database:
    """``database``: a read, and a turn at the lock that writers take. One that another program has locked does not answer."""

    name = "database"

    def __init__(self, store: OperationsStore, limits: Limits) -> None:
        self._store, self._limits = store, limits

    async def look(self) -> Seen:
        """See the port. Raises ``StoreUnavailable``."""
        began = time.monotonic()
        await self._store.answer()
        took = time.monotonic() - began
        return Seen((measured("database", took, "seconds", self._limits),), {"store_answer_seconds": took})

"""Whether the artifact store takes bytes, gives them back, and lets them go."""

from __future__ import annotations

import hashlib
import time
import uuid

from orchestrator.core.health import Limits, Seen, measured, up
from orchestrator.ports import BlobStore

BYTES = 512


class Artifacts:
    """``artifacts``: a small blob, always of the same name, so that a process that dies leaves one behind at most. ``server`` tells those
    apart that share a store."""

    name = "artifacts"

    def __init__(self, blobs: BlobStore, limits: Limits, server: str) -> None:
        self._blobs, self._limits = blobs, limits
        self._key = f"probes/{hashlib.sha256(server.encode()).hexdigest()[:16]}"

    async def look(self) -> Seen:
        """See the port. Raises what the store raises."""
        key, data = self._key, uuid.uuid4().bytes * (BYTES // 16)
        began = time.monotonic()
        try:
            await self._blobs.put(key, data)
            whole = await self._blobs.get(key) == data
        finally:
            await self._blobs.delete(key)
        took = time.monotonic() - began
        values = {"artifacts_answer_seconds": took}
        if not whole:
            return Seen((up("artifacts", False, "what is read is not what was written"),), values)
        return Seen((measured("artifacts", took, "seconds", self._limits),), values)

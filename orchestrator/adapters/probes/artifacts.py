"""Whether the artifact store takes bytes, gives them back, and lets them go."""

from __future__ import annotations

import time
import uuid

from orchestrator.core.health import Limits, Seen, measured, up
from orchestrator.ports import BlobStore

BYTES = 512


class Artifacts:
    """``artifacts``: a small blob of each look's own."""

    name = "artifacts"

    def __init__(self, blobs: BlobStore, limits: Limits) -> None:
        self._blobs, self._limits = blobs, limits

    async def look(self) -> Seen:
        """See the port. Raises what the store raises."""
        key, data = f"probes/{uuid.uuid4().hex}", uuid.uuid4().bytes * (BYTES // 16)
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

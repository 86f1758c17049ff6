"""The writer of an analysis' upload: bytes into the spool, and into the store how much of them is on disk."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import failpoints
from orchestrator.core.jobs import AnalysisRecord, UploadState
from orchestrator.errors import InvalidRequest
from orchestrator.pipeline.disk import DiskGuard
from orchestrator.pipeline.ports import SpoolWriter
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import AnalysisStore


class UploadWriter:
    """See ``api.ports.UploadWriter``. ``grown`` is called when more is there to analyse."""

    def __init__(
        self,
        store: AnalysisStore,
        disk: DiskGuard,
        spool: SpoolWriter,
        record: AnalysisRecord,
        grown: Callable[[], None],
        telemetry: Telemetry | None = None,
    ) -> None:
        self._telemetry = telemetry or Telemetry()
        self._store, self._disk, self._spool, self._record, self._grown = store, disk, spool, record, grown
        self._state = record.upload

    @property
    def committed(self) -> int:
        """Bytes written, synchronised or not."""
        return self._spool.committed

    async def append(self, offset: int, data: bytes) -> int:
        """Write ``data`` at ``offset``; returns ``committed``."""
        announced = self._record.spec.source.size
        if announced is not None and offset + len(data) > announced:
            raise InvalidRequest(f"the upload is longer than its announced {announced} bytes")
        self._disk.check()
        return await self._spool.append(offset, data)

    async def sync(self) -> UploadState:
        """Bring everything written onto the disk, and say so in the store."""
        return await self._sync(complete=self._state.complete)

    async def finish(self, size: int | None = None) -> UploadState:
        """No more bytes will come."""
        announced = self._record.spec.source.size if size is None else size
        if announced is not None and self.committed != announced:
            raise InvalidRequest(
                f"the upload ended after {self.committed} of its announced {announced} bytes",
                expected_offset=self.committed,
            )
        state = await self._sync(complete=True)
        self._spool.finish()
        self._grown()
        return state

    def close(self) -> None:
        """Leave; another writer may go on."""
        self._spool.close()

    async def _sync(self, *, complete: bool) -> UploadState:
        state = UploadState(await self._spool.sync(), complete)
        failpoints.reach("upload.synced")
        if state != self._state:
            await self._store.set_upload(self._record.id, state)
            self._telemetry.uploaded(max(0, state.committed - self._state.committed))
            self._state = state
            self._grown()
        return state

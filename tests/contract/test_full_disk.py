"""The embedded store, blobs and uploads on a disk that is filled twenty times while analyses commit: what was acknowledged is there,
what waited goes on by itself; and without the guard it would not."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from orchestrator.adapters.blobs.local import INCOMING, LocalBlobs
from orchestrator.adapters.sources.uploads import Uploads
from orchestrator.adapters.stores.audit import audit
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.core.jobs import UploadState
from orchestrator.errors import DiskFull
from orchestrator.pipeline.disk import DiskGuard
from tests.support.small_disk import fill, small_disk
from tests.support.store_values import UPLOAD, checkpoint, running, segment

T = TypeVar("T")

DISK = 48 << 20
LOW, HIGH = 1 << 20, 2 << 20
FILLS = 20
ANALYSES = 6
BLOB = bytes(4000)
RESUME_SECONDS = 10.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK) as mounted:
        yield mounted


@dataclass
class Work:
    """What is written meanwhile, and how much of it was acknowledged."""

    disk: Path
    store: SqlAnalysisStore
    guard: DiskGuard
    guarded: bool = True
    segments: Counter[str] = field(default_factory=Counter)
    blobs: Counter[str] = field(default_factory=Counter)
    upload: bytearray = field(default_factory=bytearray)
    stopping: bool = False

    async def write(self, write: Callable[[], Awaitable[T]]) -> T:
        return await self.guard.through(write) if self.guarded else await write()

    async def analyse(self, name: str) -> None:
        """Commit segments, each with a blob before it, as a runner with its heartbeat does."""
        blobs = LocalBlobs(self.disk / "blobs")
        lease = await running(self.store, name)
        for index in range(1 << 20):
            if self.stopping:
                return
            await self.write(lambda index=index: blobs.put(f"reports/{name}/{index:06}", BLOB))  # type: ignore[misc]
            self.blobs[name] += 1
            await self.write(lambda index=index: self.store.commit_segment(lease, segment(index), checkpoint(index)))  # type: ignore[misc]
            self.segments[name] += 1
            await self.write(lambda: self.store.beat(lease))
            await asyncio.sleep(0.02)

    async def send(self) -> None:
        """Upload as a client does who sends again what was refused."""
        uploads, dice = Uploads(self.disk / "uploads", DISK), random.Random(5)
        await self.store.create("upload", UPLOAD, limit=100)
        writer = uploads.writer("upload", UploadState())
        while not self.stopping:
            piece = dice.randbytes(20_000)
            while True:
                try:
                    if self.guarded:
                        self.guard.check()
                    await writer.append(len(self.upload), piece)
                    await self.store.set_upload("upload", UploadState(await writer.sync(), False))
                    break
                except DiskFull:
                    if self.stopping:
                        return
                    await asyncio.sleep(0.02)
            self.upload += piece
            await asyncio.sleep(0.05)
        writer.close()

    async def fill_again_and_again(self) -> list[float]:
        """Fill the disk and free it; returns the seconds until the next commit each time."""
        resumed, dice = [], random.Random(7)
        for _ in range(FILLS):
            await asyncio.sleep(dice.uniform(0.02, 0.08))
            filler = await asyncio.to_thread(fill, self.disk, dice.choice((0, 0, 4096, LOW // 2)))
            with pytest.raises(DiskFull):
                self.guard.check()
            await asyncio.sleep(dice.uniform(0.02, 0.1))
            before, began = self.segments.total(), time.monotonic()
            filler.unlink()
            while self.segments.total() == before:
                await asyncio.sleep(0.005)
                assert time.monotonic() - began < RESUME_SECONDS, "nothing goes on"
            resumed.append(time.monotonic() - began)
            self.guard.check()
        return resumed


async def play(disk: Path, *, guarded: bool) -> Work:
    """Write and fill; raises what the writers raise."""
    async with open_store(disk / "data") as store:
        guard = DiskGuard([disk], low=LOW, high=HIGH, every=0.02)
        work = Work(disk, store, guard, guarded)
        writers = [asyncio.ensure_future(work.analyse(f"analysis-{number}")) for number in range(ANALYSES)]
        writers.append(asyncio.ensure_future(work.send()))
        filling = asyncio.ensure_future(work.fill_again_and_again())
        try:
            await asyncio.wait([filling, *writers], return_when=asyncio.FIRST_COMPLETED)
            work.stopping = True
            for task in (*writers, filling) if not filling.done() else (filling, *writers):
                await task
        finally:
            for task in (*writers, filling):
                task.cancel()
            await asyncio.wait([*writers, filling])
    return work


async def test_twenty_full_disks_lose_nothing(disk: Path) -> None:
    work = await play(disk, guarded=True)
    async with open_store(disk / "data") as store:
        assert [finding for finding in await store.run(audit) if finding.count] == []
        for name, acknowledged in work.segments.items():
            assert (await store.get(name)).segments == acknowledged
            assert await store.segments(name, 0, acknowledged) == [segment(index) for index in range(acknowledged)]
        kept = (await store.get("upload")).upload.committed
    assert kept >= len(work.upload) > 0
    assert (disk / "uploads" / "upload").read_bytes()[: len(work.upload)] == work.upload
    sizes = Counter(
        info.key.split("/")[1]
        for info in [i async for i in LocalBlobs(disk / "blobs").list()]
        if info.size == len(BLOB)
    )
    assert sizes == work.blobs
    assert list((disk / "blobs" / INCOMING).iterdir()) == []


async def test_without_the_guard_analyses_fail(disk: Path) -> None:
    """The negative control."""
    with pytest.raises(DiskFull):
        await play(disk, guarded=False)

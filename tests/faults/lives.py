"""Lives of analyses as the store, the uploads and the blobs see them: made up, but the same each time, so that what a crash
leaves can be compared with what must be there.

Every step that came back is told to ``done``: from then on it may not be lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.sources.uploads import Uploads
from orchestrator.adapters.stores.rollouts import SqlRollouts
from orchestrator.adapters.stores.sql import open_store
from orchestrator.core.jobs import (
    AnalysisRecord,
    AnalysisSpec,
    AnalysisState,
    AnalyzerKey,
    Checkpoint,
    Lease,
    SourceKind,
    SourceRef,
)
from orchestrator.core.media import Ledger, LedgerMark, MediaInfo
from orchestrator.core.results import (
    Annotation,
    At,
    Finished,
    LabelScore,
    ModelVersion,
    Segment,
    Similarity,
    Started,
    Thumbnail,
)
from orchestrator.core.rollout import Action, Rollout, Stage, Step
from orchestrator.core.timeline import Interval
from orchestrator.errors import LeaseLost
from orchestrator.pipeline.disk import DiskGuard
from orchestrator.pipeline.model_ports import RolloutStore
from orchestrator.pipeline.uploading import UploadWriter
from orchestrator.ports import AnalysisStore

LIMIT = 10_000
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
Done = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Life:
    """What will become of an analysis. ``upload``: bytes of its upload (0: it is a file); ``crashes``: attempts that end early;
    ``cancelled``: while it waits."""

    id: str
    segments: int
    upload: int
    crashes: int
    deleted: bool
    cancelled: bool


@dataclass(frozen=True, slots=True)
class World:
    """Where lives are lived."""

    store: AnalysisStore
    rollouts: RolloutStore
    blobs: LocalBlobs
    uploads: Uploads
    disk: DiskGuard


@asynccontextmanager
async def world(data: Path) -> AsyncIterator[World]:
    """The real store, blobs and uploads in ``data``, as the service opens them."""
    async with open_store(data) as store:
        yield World(
            store,
            SqlRollouts(store.database),
            LocalBlobs(data / "blobs"),
            Uploads(data / "uploads", 1 << 30),
            DiskGuard([data], low=0, high=1),
        )


def lives(seed: int, count: int) -> list[Life]:
    """The lives of a seed."""
    dice = random.Random(seed)
    return [
        Life(
            f"life-{seed}-{index:03}",
            segments=dice.randint(1, 4),
            upload=dice.choice((0, dice.randint(1, 40_000))),
            crashes=dice.choice((0, 0, 1)),
            deleted=index % 6 == 1,
            cancelled=index % 6 == 5,
        )
        for index in range(count)
    ]


# --- what each one writes ----------------------------------------------------------------------------------------------


def spec_of(life: Life) -> AnalysisSpec:
    kind = SourceKind.UPLOAD if life.upload else SourceKind.PATH
    return AnalysisSpec(
        SourceRef(kind, life.id, life.upload or None),
        request_id=f"request-{life.id}",
        tenant="somebody",
        labels=(("life", life.id),),
    )


def bytes_of(life: Life) -> bytes:
    return random.Random(life.id).randbytes(life.upload)


def blob_of(life: Life, index: int) -> bytes:
    return random.Random(f"{life.id} {index}").randbytes(1500)


def blob_key(life: Life, index: int) -> str:
    return f"faults/{life.id}/{index:06}.jpg"


def started_of(life: Life) -> Started:
    media = MediaInfo("mov", "h264", 1280, 720, 0, Fraction(1, 1000), 0, None, Fraction(25))
    return Started(media, "default", ("labels", "similarity"))


def segment_of(life: Life, index: int) -> Segment:
    dice = random.Random(f"{life.id} segment {index}")
    models = (ModelVersion("labels", "1", "0" * 64),)
    at = At(index * 100, index * 4000)
    vector = tuple(dice.uniform(-1, 1) for _ in range(300))
    labels = tuple(LabelScore(f"label {n}", dice.random(), dice.random(), at) for n in range(3))
    return Segment(
        index,
        Interval(index * 100, index * 100 + 100, index * 4000, index * 4000 + 4000),
        (Annotation("labels", models, labels, 10), Annotation("similarity", models, Similarity(vector), 10)),
        Thumbnail(dice.randbytes(900), at, 320, 180),
        final=index == life.segments - 1,
    )


def checkpoint_of(life: Life, index: int) -> Checkpoint:
    """The one behind segment ``index``."""
    state = {"segmenter": {"life": life.id, "segment": index}}
    return Checkpoint(
        index + 1, index * 100 + 100, state, LedgerMark(index * 100), {"memo": index}, forget=index % 2 == 0
    )


def finished_of(life: Life) -> Finished:
    return Finished(life.segments, life.segments * 4000, 1, Ledger(), False, None, None)


def way_of(life: Life) -> Sequence[Rollout]:
    """The states of a rollout, one step after the other: each life has a model of its name."""
    staged = Rollout(life.id, 1).staged(2)
    return staged, staged.tried(Stage.CANARY, 0.5), staged.tried(Stage.CANARY, 0.5).promoted()


def step_of(life: Life, state: Rollout) -> Step:
    """The one that leads to ``state``."""
    actions = (Action.STAGE, Action.CANARY, Action.PROMOTE)
    then = EPOCH + timedelta(minutes=state.revision)
    return Step(life.id, state.revision, actions[state.revision - 1], 2, state.stable, then, "somebody", life.id)


# --- living ------------------------------------------------------------------------------------------------------------


async def live(world: World, life: Life, done: Done) -> None:
    """From wherever a crash left it to its end."""
    store = world.store
    record, _ = await store.create(life.id, spec_of(life), limit=LIMIT)
    done(f"created {life.id}")
    await _roll_out(world, life, done)
    if life.upload and not record.upload.complete and not record.state.ended:
        await _upload(world, life, record, done)
    if life.cancelled:
        await store.request_cancel(life.id)
        done(f"cancelled {life.id}")
    crashes = life.crashes
    while not (record := await store.get(life.id)).state.ended:
        lease = await store.claim(life.id, f"runner-{record.attempts}")
        assert lease is not None, f"{life.id} cannot be claimed"
        crashes -= 1
        if crashes >= 0:
            await _attempt(world, life, lease, done, stop=life.segments // 2)
            await store.requeue(lease, reason="YIELD")
            try:  # whoever lost it may not write any more
                await store.commit_segment(lease, segment_of(life, life.segments), checkpoint_of(life, life.segments))
            except LeaseLost:
                continue
            raise AssertionError("a lost lease wrote")
        await _attempt(world, life, lease, done)
        await store.set_digest(life.id, f"{life.id:0>64}")
        keys = (AnalyzerKey("labels", "key"),)
        await store.end(lease, finished_of(life), AnalysisState.SUCCEEDED, keys)
        done(f"ended {life.id}")
    if life.deleted:
        done(f"deleting {life.id}")
        await store.delete(life.id)
        done(f"deleted {life.id}")
        world.uploads.delete(life.id)
        for index in range(life.segments):
            await world.blobs.delete(blob_key(life, index))


async def _roll_out(world: World, life: Life, done: Done) -> None:
    known = (await world.rollouts.rollouts()).get(life.id)
    for state in way_of(life)[known.revision if known else 0 :]:
        assert await world.rollouts.step(state, step_of(life, state)), f"a step of {life.id} was refused"
        done(f"stepped {life.id} {state.revision}")


async def _upload(world: World, life: Life, record: AnalysisRecord, done: Done) -> None:
    data, at = bytes_of(life), record.upload.committed
    spool = world.uploads.writer(life.id, record.upload)
    with closing(UploadWriter(world.store, world.disk, spool, record, lambda: None)) as writer:
        piece = max(1, len(data) // 3)
        while at < len(data):
            await writer.append(at, data[at : at + piece])
            at = (await writer.sync()).committed
            done(f"uploaded {life.id} {at}")
        await writer.finish(len(data))
        done(f"completed {life.id}")


async def _attempt(world: World, life: Life, lease: Lease, done: Done, stop: int | None = None) -> None:
    """Go on behind the newest checkpoint, up to segment ``stop``."""
    store = world.store
    found = await store.checkpoint(life.id)
    first = 0 if found is None else found[0].segments
    if found is not None:
        assert found[0] == checkpoint_of(life, first - 1), f"{life.id} has another checkpoint"
    await store.begin(lease, started_of(life), None)
    await store.beat(lease)
    done(f"began {life.id}")
    for index in range(first, life.segments if stop is None else max(first, stop)):
        await world.blobs.put(blob_key(life, index), blob_of(life, index))
        done(f"put {life.id} {index}")
        await store.commit_segment(lease, segment_of(life, index), checkpoint_of(life, index))
        done(f"committed {life.id} {index}")


async def live_all(data: Path, all_lives: list[Life], done: Done, at_once: int = 4) -> None:
    """Live them all; what a dead process left is taken back first."""
    async with world(data) as where:
        await where.store.reclaim()
        turn = asyncio.Semaphore(at_once)

        async def one(life: Life) -> None:
            async with turn:
                await live(where, life, done)

        async with asyncio.TaskGroup() as group:
            for life in all_lives:
                group.create_task(one(life))

"""One attempt on an analysis: open its source, go on where the attempt before stopped, commit what comes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from typing import TypeVar

from orchestrator import failpoints, tracing
from orchestrator.analyzers.registry import Names, Selection, available, select
from orchestrator.core.jobs import (
    AnalysisRecord,
    AnalysisSpec,
    AnalysisState,
    Checkpoint,
    Lease,
    ReusePlan,
    SourceKind,
)
from orchestrator.core.media import DecodeLimits
from orchestrator.core.profiles import Profile
from orchestrator.core.results import Finished, Progress, Segment, Started
from orchestrator.errors import NotFound, ProfileError, ReelsiftError, StoreUnavailable
from orchestrator.pipeline.analysis import Analysis, Known
from orchestrator.pipeline.disk import DiskGuard
from orchestrator.pipeline.keys import keys_of
from orchestrator.pipeline.news import News
from orchestrator.pipeline.ports import Sources
from orchestrator.pipeline.stages import Stages
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import AnalysisStore, Decoder, Inference, MediaBytes

PIECE_BYTES = 1 << 20
STORE_PATIENCE = (0.1, 0.5, 1.0, 2.0, 5.0)  # seconds between tries; the last one again and again
PAGE = 256
FAMILIAR_SECONDS = 1.0

T = TypeVar("T")


class Yielded(Exception):
    """The attempt gave its place up after a segment, as it was told."""


@dataclass(slots=True)
class Parts:
    """What attempts are made of. When ``profiles`` or ``limits`` are exchanged, those count that begin afterwards."""

    decoder: Decoder
    inference: Inference
    store: AnalysisStore
    sources: Sources
    profiles: Mapping[str, Profile]
    names: Names
    limits: DecodeLimits
    disk: DiskGuard
    news: News = field(default_factory=News)
    telemetry: Telemetry = field(default_factory=Telemetry)

    async def commit(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write to the store once the disk has room and the database answers: what was computed is not thrown away for
        want of either."""
        for wait in chain(STORE_PATIENCE, repeat(STORE_PATIENCE[-1])):
            try:
                return await self.disk.through(write)
            except StoreUnavailable:
                await asyncio.sleep(wait)
        raise AssertionError("patience has no end")


def profile_of(spec: AnalysisSpec, profiles: Mapping[str, Profile]) -> Profile:
    """The settings that ``spec`` asks for. Raises ``ProfileError``."""
    name = spec.profile or "default"
    if name not in profiles:
        raise ProfileError(f"there is no profile {name!r}; there are {', '.join(sorted(profiles))}", profile=name)
    profile = profiles[name]
    unknown = sorted({*spec.analyzers, *spec.recompute} - set(available()))
    if unknown:
        raise ProfileError(f"there is no analyzer {unknown[0]!r}; there are {', '.join(sorted(available()))}")
    return profile.only(tuple(dict.fromkeys(spec.analyzers))) if spec.analyzers else profile


async def digest_of(media: MediaBytes, stages: Stages | None = None) -> str:
    """sha256 of a complete media, lower-case hexadecimal. ``stages`` hear of every piece, for reading it may take long."""

    def read() -> str:
        digest, at, end = hashlib.sha256(), 0, media.committed
        while at < end:
            piece = os.pread(media.fileno(), min(PIECE_BYTES, end - at), at)
            if not piece:
                break
            digest.update(piece)
            at += len(piece)
            if stages is not None:
                stages.add("store", 0.0)
        return digest.hexdigest()

    return await asyncio.to_thread(read)


class Attempt:
    """Runs once. ``yielding`` set to true ends it after the next segment with ``Yielded``. ``profiles``: those that count, if they are
    not those of the parts (an analysis under way keeps its own). ``finished``: how it ended, once it has."""

    def __init__(
        self, parts: Parts, record: AnalysisRecord, lease: Lease, profiles: Mapping[str, Profile] | None = None
    ) -> None:
        self._parts, self._record, self._lease = parts, record, lease
        self._profiles = parts.profiles if profiles is None else profiles
        self._limits = parts.limits
        self._analysis: Analysis | None = None
        self._storing = False
        self.stages = Stages(parts.telemetry.spent)
        self._reuse: ReusePlan | None = record.reuse
        self._digest = record.content_digest
        self.yielding = False
        self.media: MediaBytes | None = None
        self.finished: Finished | None = None

    @property
    def position(self) -> tuple[int, int]:
        """Becomes another one as long as the attempt gets on: bytes come, or something is decoded, answered or committed."""
        return (self.media.committed if self.media is not None else 0, self.stages.done)

    @property
    def queues_for_memory(self) -> bool:
        """Whether it has not begun to decode, for want of memory that other analyses hold."""
        return self._analysis is not None and self._analysis.queues_for_memory

    @property
    def stage(self) -> str:
        """What it is at; see ``core.statistics.Session``."""
        if self._storing:
            return "storing"
        if self._analysis is None or not self._analysis.opened:
            return "opening"
        session = self._analysis.session
        return "waiting for bytes" if session is not None and session.starved else "analysing"

    @property
    def media_ns(self) -> int:
        """How far it is in the media."""
        return self._analysis.media_ns if self._analysis is not None else 0

    @property
    def duration_ns(self) -> int | None:
        """How long the media says that it is."""
        return self._analysis.media.duration_ns if self._analysis is not None and self._analysis.opened else None

    @property
    def segments(self) -> int:
        """How many are told, those of earlier attempts included."""
        return self._analysis.told if self._analysis is not None else self._record.segments

    @property
    def elapsed_ns(self) -> int:
        """Time spent, that of earlier attempts included."""
        return self._analysis.elapsed_ns if self._analysis is not None else 0

    async def run(self) -> None:
        """Analyse to the end and commit it. Raises the typed error of whatever went wrong, or ``Yielded``."""
        record = self._record
        with tracing.span("analysis.attempt", analysis_id=record.id, attempt=record.attempts):
            await self._run()

    async def _run(self) -> None:
        parts, record = self._parts, self._record
        profile = profile_of(record.spec, self._profiles)
        # Importing an analyzer's libraries may take a second; the loop goes on meanwhile.
        selection = await asyncio.to_thread(select, profile, parts.names)
        media = self.media = await parts.sources.open(record.spec.source, record.upload)
        try:
            resume = await parts.store.checkpoint(record.id)
            failpoints.reach("attempt.loaded")
            # One version of each model to the end: no segment mixes two.
            with parts.inference.pinned(record.id) as inference:
                known = await self._known(profile, selection, media, inference, fresh=resume is None)
                analysis = Analysis(parts.decoder, inference, selection, profile, self._limits, self, self.stages)
                self._analysis = analysis
                outcome = await analysis.run(media, resume=resume, known=known)
            failpoints.reach("attempt.analysed")
            with self._store():
                keys = outcome.keys if await self._identify(media) and not outcome.finished.partial else ()
            spent = self.stages.spent
            with self._store():
                end = (self._lease, outcome.finished, AnalysisState.SUCCEEDED, keys, spent)
                await parts.commit(lambda: parts.store.end(*end))
            self.finished = outcome.finished
            failpoints.reach("attempt.ended")
        finally:
            media.close()

    # --- what the analysis tells (its ``AnalysisLog``) ---------------------------------------------------------------

    @contextmanager
    def _store(self) -> Iterator[None]:
        self._storing = True
        try:
            with self.stages.during("store"), tracing.span("store.commit"):
                yield
        finally:
            self._storing = False

    async def started(self, started: Started) -> None:
        """Commit it."""
        with self._store():
            await self._parts.commit(lambda: self._parts.store.begin(self._lease, started, self._reuse))
        self._parts.news.tell(self._record.id)

    async def segment(self, segment: Segment, checkpoint: Checkpoint) -> None:
        """Commit it; the next may wait for that."""
        began = time.monotonic()
        with self._store():
            await self._parts.commit(lambda: self._parts.store.commit_segment(self._lease, segment, checkpoint))
        failpoints.reach("attempt.committed")
        self._parts.telemetry.committed(time.monotonic() - began)
        self._parts.news.tell(self._record.id)
        if self.yielding and not segment.final:
            raise Yielded

    async def progress(self, progress: Progress) -> None:
        """Tell who watches."""
        self._parts.news.tell(self._record.id, progress)

    # --- what is known already ---------------------------------------------------------------------------------------

    async def _known(
        self, profile: Profile, selection: Selection, media: MediaBytes, inference: Inference, *, fresh: bool
    ) -> Known | None:
        store, spec = self._parts.store, self._record.spec
        if fresh and self._reuse is None and spec.reuse and await self._familiar(media):
            await inference.ready(selection.models)  # only then its versions are known
            self._digest = self._digest or await digest_of(media, self.stages)
            plan = await store.known(self._digest, keys_of(profile, selection, inference))
            if plan is not None:
                left = tuple(name for name in plan.analyzers if name not in spec.recompute)
                self._reuse = replace(plan, analyzers=left)
        if self._reuse is None:
            return None
        # If that analysis is gone meanwhile, everything is computed; what was told already is not told again.
        known = await known_answers(store, self._reuse)
        known = known.within(selection) if known else None
        self._reuse = known.plan if known else None
        return known

    async def _familiar(self, media: MediaBytes) -> bool:
        """Whether an earlier analysis had a media of this size. An upload that announces such a size is worth a moment's
        wait for its end: then it may be known whole."""
        size = media.committed if media.complete else self._record.spec.source.size
        if size is None or not await self._parts.store.sized(size):
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(FAMILIAR_SECONDS):
                while not media.complete:
                    await asyncio.sleep(0.02)
        return media.complete

    async def _identify(self, media: MediaBytes) -> bool:
        """Store what the bytes were. False if a file was changed meanwhile: then nothing may be taken over from it."""
        source = self._record.spec.source
        if self._digest is None:
            self._digest = await digest_of(media, self.stages)
        if source.kind is SourceKind.PATH:
            try:
                if (await self._parts.sources.examine(source.name)).stamp != source.stamp:
                    return False
            except ReelsiftError:
                return False
        digest = self._digest
        await self._parts.commit(lambda: self._parts.store.set_digest(self._record.id, digest))
        return True


async def known_answers(store: AnalysisStore, plan: ReusePlan) -> Known | None:
    """What ``plan`` takes over; ``None`` when that analysis has been deleted meanwhile."""
    started, finished = None, None
    try:
        record = await store.get(plan.analysis_id)
    except NotFound:
        return None
    for _, event in await store.read(plan.analysis_id, 0, 1):
        started = event if isinstance(event, Started) else None
    for _, event in await store.read(plan.analysis_id, record.last_sequence - 1, 1):
        finished = event if isinstance(event, Finished) else None
    segments: list[Segment] = []
    while page := await store.segments(plan.analysis_id, len(segments), PAGE):
        segments.extend(page)
    if started is None or finished is None or len(segments) != finished.segments:
        return None
    return Known(plan, tuple(segments), started.media, finished)

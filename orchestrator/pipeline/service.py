"""The application service: durable analyses by id, whatever transport asks for them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from orchestrator import exports, tracing
from orchestrator.analyzers.registry import select
from orchestrator.core.jobs import (
    AnalysisFilter,
    AnalysisRecord,
    AnalysisSpec,
    AnalysisState,
    Estimate,
    Page,
    RetryFrom,
    SourceKind,
)
from orchestrator.core.results import FINAL_EVENTS, AnalysisEvent, Segment
from orchestrator.errors import (
    AnalysisCancelled,
    AnalysisNotEnded,
    Draining,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    SourceGone,
    UnderMaintenance,
)
from orchestrator.pipeline.attempt import Parts, profile_of
from orchestrator.pipeline.estimating import estimate
from orchestrator.pipeline.runner import Runner
from orchestrator.pipeline.running import Stop
from orchestrator.pipeline.uploading import UploadWriter

POLL_SECONDS = 1.0  # how often a watcher looks into a store that others write to as well
PAGE = 64

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """``running``: analyses at work at once. ``waiting``: further ones accepted. ``interruptions``: deaths of the process at one
    segment, before its analysis is blamed for them. ``stuck``: seconds for which an analysis may not get on, before it is stopped.
    """

    running: int = 2
    waiting: int = 32
    interruptions: int = 5
    stuck: float = 1800.0


class AnalysisService:
    """Accepts analyses, has them run, and lets anyone read their events. See ``api.ports.Analyses``.

    ``start`` begins to run what is queued. ``server`` names this one in the leases that its runner holds.
    """

    def __init__(self, parts: Parts, limits: ServiceLimits | None = None, server: str = "") -> None:
        self._parts, self._store = parts, parts.store
        self._limits = limits = limits or ServiceLimits()
        self.runner = Runner(
            parts,
            owner=f"{server}/{uuid.uuid4().hex[:8]}",  # a restarted server is another owner
            running=limits.running,
            interruptions=limits.interruptions,
            stuck=limits.stuck,
        )
        self._running: asyncio.Task[None] | None = None
        self._draining = self._paused = False

    @property
    def limits(self) -> ServiceLimits:
        """Those in force."""
        return self._limits

    def limit(self, limits: ServiceLimits) -> None:
        """Put other limits in force. What is at work above a lower one is not disturbed."""
        self._limits, runner = limits, self.runner
        runner.places, runner.interruptions, runner.stuck = limits.running, limits.interruptions, limits.stuck
        runner.wake()

    @property
    def accepting(self) -> bool:
        """Whether new analyses are taken: not when draining or paused, nor while the disk is full."""
        return not (self._draining or self._paused or self._parts.disk.full)

    def pause(self, paused: bool) -> None:
        """While ``paused`` no analysis is accepted (``UnderMaintenance``) and none begun; what runs goes on."""
        self._paused = self.runner.paused = paused
        self.runner.wake()

    def _check_open(self) -> None:
        if self._draining:
            raise Draining("this server is shutting down and takes no new analyses")
        if self._paused:
            raise UnderMaintenance("this server is in maintenance and takes no new analyses")

    @property
    def running(self) -> int:
        """Analyses at work here."""
        return self.runner.at_work

    @property
    def resting(self) -> bool:
        """Whether somebody wants nothing to be begun: the server is going away, or in maintenance."""
        return self._draining or self._paused

    @property
    def places(self) -> int:
        """How many analyses may be at work here at once; 0 while none is begun any more."""
        begins = self._running is not None and not self._running.done() and not self.resting
        return self._limits.running if begins else 0

    def start(self) -> None:
        """Begin to run what is queued, what an earlier process left behind first."""
        self._running = asyncio.create_task(self.runner.run(), name="runner")

    # --- create ------------------------------------------------------------------------------------------------------

    async def create(self, spec: AnalysisSpec) -> tuple[AnalysisRecord, bool]:
        """Accept an analysis; whether it is new."""
        self._check_open()
        self._parts.disk.check()
        analysis_id = uuid.uuid4().hex
        spec = replace(await self._examined(spec, analysis_id), traceparent=tracing.traceparent())
        limit = self._limits.running + self._limits.waiting
        record, created = await self._store.create(analysis_id, spec, limit=limit)
        if created:
            self._parts.telemetry.created()
            log.info("analysis.accepted", analysis_id=record.id, profile=spec.profile, request_id=spec.request_id)
            self.runner.wake()
        return record, created

    async def estimate(self, spec: AnalysisSpec) -> Estimate:
        """What ``spec`` would be and take; creates and analyses nothing."""
        self._check_open()
        return await estimate(self._parts, await self._examined(spec, ""), self._limits.running)

    async def _examined(self, spec: AnalysisSpec, analysis_id: str) -> AnalysisSpec:
        """``spec`` with its source as it is now. Whatever can be known to be wrong is refused here."""
        profile = profile_of(spec, self._parts.profiles)
        await asyncio.to_thread(select, profile, self._parts.names)
        if spec.source.kind is SourceKind.PATH:
            return replace(spec, source=await self._parts.sources.examine(spec.source.name))
        return replace(spec, source=replace(spec.source, name=spec.source.name or analysis_id))

    async def upload(self, analysis_id: str) -> UploadWriter:
        """The writer of its upload, from where it stands. Close it in the end."""
        record = await self._store.get(analysis_id)
        if record.spec.source.kind is not SourceKind.UPLOAD or record.spec.source.name != record.id:
            raise FailedPrecondition("the source of this analysis is not an upload of its own")
        if record.state.ended:
            raise FailedPrecondition("the analysis has ended", state=record.state.value)
        writer = self._parts.sources.write(record.id, record.upload)
        self.runner.wake()
        return UploadWriter(
            self._store, self._parts.disk, writer, record, self.runner.wake, telemetry=self._parts.telemetry
        )

    # --- look --------------------------------------------------------------------------------------------------------

    async def get(self, analysis_id: str) -> AnalysisRecord:
        """The analysis."""
        return await self._store.get(analysis_id)

    async def list(self, query: AnalysisFilter, page_size: int, page_token: str = "") -> Page:
        """Analyses, newest first."""
        return await self._store.list(query, page_size, page_token)

    async def events(self, analysis_id: str, after: int = 0) -> AsyncGenerator[tuple[int, AnalysisEvent], None]:
        """The log above position ``after``, then what comes, until the final event; between them ``Progress`` at 0."""
        watch = self._parts.news.watch(analysis_id)
        fresh = True
        try:
            while True:
                while fresh and (page := await self._store.read(analysis_id, after)):
                    for sequence, event in page:
                        yield sequence, event
                        after = sequence
                        if isinstance(event, FINAL_EVENTS):
                            return
                if fresh and await self._is_over(analysis_id, after):
                    return
                if (progress := watch.progress()) is not None:
                    yield 0, progress
                if self._parts.news.closed:
                    raise Draining("this server is going away; what follows is told by the next one")
                fresh = await watch.wait(POLL_SECONDS if self._store.shared else None)
        finally:
            watch.close()

    async def _is_over(self, analysis_id: str, after: int) -> bool:
        """Whether a reader at ``after`` has nothing more to expect."""
        record = await self._store.get(analysis_id)
        return record.state.ended and after >= record.last_sequence

    async def thumbnail(self, analysis_id: str, segment: int) -> bytes:
        """The JPEG of a segment."""
        found = await self._store.segments(analysis_id, segment, 1) if segment >= 0 else ()
        if not found or found[0].thumbnail is None:
            raise NotFound("there is no such picture", analysis_id=analysis_id, segment=segment)
        return found[0].thumbnail.jpeg

    async def export(self, analysis_id: str, file_format: str) -> AsyncGenerator[bytes, None]:
        """The results as a file."""
        record = await self._store.get(analysis_id)
        if not record.state.ended:
            raise AnalysisNotEnded("only an ended analysis can be exported", state=record.state.value)
        loop = asyncio.get_running_loop()

        def segments() -> Iterator[Segment]:
            first = 0
            while page := asyncio.run_coroutine_threadsafe(
                self._store.segments(analysis_id, first, PAGE), loop
            ).result():
                yield from page
                first += len(page)

        pieces = await asyncio.to_thread(exports.export, record, segments(), file_format)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    # --- change ------------------------------------------------------------------------------------------------------

    async def cancel(self, analysis_id: str, *, terminated: str | None = None) -> AnalysisRecord:
        """Stop an analysis and wait until it has stopped; one that has ended stays as it is. ``terminated``: why an operator does."""
        waited = (await self._store.get(analysis_id)).state is AnalysisState.QUEUED
        record = await self._store.request_cancel(analysis_id, terminated=terminated)
        if waited and record.state is AnalysisState.CANCELLED:  # no runner had it: nobody else tells
            self._parts.telemetry.ended(record.state, AnalysisCancelled.reason)
            log.info(
                "analysis.ended", analysis_id=analysis_id, state=record.state.value, reason=AnalysisCancelled.reason
            )
        self._parts.news.tell(analysis_id)
        watch = self._parts.news.watch(analysis_id)
        try:
            while not record.state.ended:
                self.runner.stop(analysis_id, Stop.CANCEL)
                record = await self._store.get(analysis_id)
                if not record.state.ended:
                    await watch.wait(POLL_SECONDS)
                    record = await self._store.request_cancel(analysis_id)  # it may be queued again by now
        finally:
            watch.close()
        return record

    async def retry(self, analysis_id: str, what: RetryFrom, analyzer: str = "") -> AnalysisRecord:
        """A new analysis of the same source."""
        record = await self._store.get(analysis_id)
        if not record.state.ended:
            raise AnalysisNotEnded("only an ended analysis can be retried", state=record.state.value)
        spec = record.spec
        if spec.source.kind is SourceKind.UPLOAD:
            if not record.upload.complete:
                raise SourceGone("the upload was never complete")
            if not self._parts.sources.kept(spec.source):
                raise SourceGone("the upload's bytes are no longer kept")
        if what is RetryFrom.ANALYZER and analyzer not in profile_of(spec, self._parts.profiles).analyzers:
            raise InvalidRequest(f"the analysis has no analyzer {analyzer!r}", analyzer=analyzer)
        again = replace(
            spec,
            request_id="",
            deadline=None,
            bound=False,
            reuse=what is not RetryFrom.WHOLE,
            recompute=(analyzer,) if what is RetryFrom.ANALYZER else (),
            retry_of=analysis_id,
        )
        retried, _ = await self.create(again)
        if spec.source.kind is SourceKind.UPLOAD:
            await self._store.set_upload(retried.id, record.upload)
            self.runner.wake()
        return await self._store.get(retried.id)

    async def delete(self, analysis_id: str) -> None:
        """Forget an ended analysis, and its upload unless a retry needs it."""
        record = await self._store.get(analysis_id)
        await self._store.delete(analysis_id)
        source = record.spec.source
        if source.kind is SourceKind.UPLOAD and not await self._store.references(source):
            self._parts.sources.delete(source.name)
        log.info("analysis.deleted", analysis_id=analysis_id)

    # --- the end -----------------------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Take no new work; what runs may finish within ``seconds``, the rest goes on when a server runs again."""
        self._draining = True
        await self.runner.drain(seconds)
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
            self._running = None
        self._parts.news.close()

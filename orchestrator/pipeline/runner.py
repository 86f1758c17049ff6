"""Keeps analyses at work: takes queued ones in a fair order, renews their leases, and sees each attempt to its end.

How an attempt may end:
    it is complete, or its media is bad       the analysis ends with it
    the client cancels, the deadline passes   the analysis ends with it
    Triton or the disk is away                back to the queue, and on from its last segment after a pause
    a model's version was rolled back         back to the queue, and on from its last segment at once
    our own fault                             back to the queue with a strike; at the second it is quarantined
    it does not get on for ``stuck`` seconds  the same; nobody is blamed while the disk is full or the database away
    this server drains, or another goes first back to the queue
    this process dies                         the next one to look takes it back to the queue

One that is stopped and does not end is abandoned: its place is free again, and what it still writes is refused, for its lease is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from orchestrator import tracing
from orchestrator.core.jobs import AnalysisState, Lease, Queued, SourceKind
from orchestrator.core.profiles import Profile
from orchestrator.core.results import Failed
from orchestrator.core.scheduling import Place, Service, next_of, to_yield
from orchestrator.errors import (
    AnalysisCancelled,
    AnalysisStuck,
    DeadlineExceeded,
    DecoderCrashed,
    InternalError,
    LeaseLost,
    ReelsiftError,
    StoreUnavailable,
    Unavailable,
    VersionWithdrawn,
)
from orchestrator.pipeline.attempt import Attempt, Parts, Yielded
from orchestrator.pipeline.running import Running, Stop
from orchestrator.pipeline.telemetry import Worked

TICK_SECONDS = 1.0
BEAT_SECONDS = 2.0
DEAD_SECONDS = 15.0  # a lease whose beats stand still for so long is nobody's
IDLE_SECONDS = 15.0  # an upload that does not grow for so long gives its place up
PAUSE_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)  # before a try after something was away
SETTLE_SECONDS = 5.0  # for the store to hear how the last attempts ended
ABANDON_SECONDS = 120.0  # for one that was stopped to end; a request to Triton may take half of it
MAX_STRIKES = 2
MAX_PAUSES = 12  # tries at one segment with something away: some minutes

log = structlog.get_logger(__name__)


class Runner:
    """Runs up to ``running`` analyses at once; none is begun while it is ``paused``. ``run`` goes on until it is cancelled.

    After ``interruptions`` deaths of the process at one segment an analysis is blamed for them, and quarantined. One that does not get
    on for ``stuck`` seconds is stopped. The three numbers may change at any time.
    """

    def __init__(
        self, parts: Parts, *, owner: str, running: int, interruptions: int, stuck: float = float("inf")
    ) -> None:
        self._parts, self.owner = parts, owner
        self.places, self.interruptions, self.stuck = running, interruptions, stuck
        self.paused = False
        self._store = parts.store
        self._running: dict[str, Running] = {}
        self._ends: set[asyncio.Task[None]] = set()
        self._service = Service()
        self._pauses: dict[str, tuple[int, int, float]] = {}  # id -> tries, at which segment, not before
        self._outgrow: dict[str, int] = {}  # id -> bytes above which its upload deserves a place again
        self._profiles: dict[str, Mapping[str, Profile]] = {}  # those with which an analysis was begun here
        self._beats: dict[Lease, tuple[int, float]] = {}
        self._woken = asyncio.Event()
        self._draining = False
        self._telemetry = parts.telemetry

    def wake(self) -> None:
        """Something may be there to do."""
        self._woken.set()

    @property
    def at_work(self) -> int:
        """Analyses that have a place."""
        return len(self._running)

    def running(self) -> Sequence[Running]:
        """What is at work here now."""
        return list(self._running.values())

    def idle(self) -> Mapping[str, float]:
        """Seconds since each running analysis was seen to get on."""
        now = time.monotonic()
        return {each.record.id: now - each.moved for each in self._running.values()}

    def stop(self, analysis_id: str, why: Stop) -> bool:
        """Stop an analysis that runs here; whether it did."""
        running = self._running.get(analysis_id)
        if running is not None:
            running.stop(why)
        return running is not None

    async def run(self) -> None:
        """Take what is queued, again and again."""
        for analysis_id in await self._parts.commit(self._store.reclaim):
            log.info("analysis.reclaimed", analysis_id=analysis_id)
        if not self._store.shared:
            await self._release_the_bound()
        while True:
            try:
                await self._round()
            except StoreUnavailable as error:
                log.warning("store.unavailable", message=str(error))
                self._excuse()
            except ReelsiftError as error:
                log.error("runner.failed", reason=error.reason, message=str(error))
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()

    async def drain(self, seconds: float) -> None:
        """Take nothing new; what runs may finish within ``seconds``, the rest goes back to the queue."""
        self._draining = True
        self._count()
        tasks = [running.task for running in self._running.values() if running.task]
        if tasks and seconds > 0:
            await asyncio.wait(tasks, timeout=seconds)
        for running in list(self._running.values()):
            running.stop(Stop.DRAIN)
        if self._ends:  # what cannot be settled now is taken back to the queue by whoever looks next
            await asyncio.wait(set(self._ends), timeout=SETTLE_SECONDS)

    # --- who gets a place --------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        now = time.monotonic()
        self._count()  # places and pauses change at any time
        self._watch_uploads(now)
        self._watch_progress(now)
        if self._store.shared:
            await self._take_over_the_dead(now)
        if self._draining:
            return
        waiting = {each.id: each for each in await self._store.queued() if each.id not in self._running}
        for each in [each for each in waiting.values() if each.deadline and each.deadline <= datetime.now(UTC)]:
            del waiting[each.id]
            await self._expire(each)
        if self.paused:
            return
        eligible = {each.id: each for each in waiting.values() if self._eligible(each, now)}
        while eligible and len(self._running) < self.places:
            chosen = next_of(eligible.values(), self._occupied(now), self._service, now)
            assert chosen is not None
            del eligible[chosen.id]
            lease = await self._store.claim(chosen.id, self.owner)
            if lease is not None:
                await self._begin(lease)
        if eligible:
            worst = to_yield(eligible.values(), self._occupied(now), self._service, now)
            if worst is not None:
                self._running[worst].attempt.yielding = True

    def _eligible(self, each: Queued, now: float) -> bool:
        """Whether it could get on now: nothing it needs was away just before, and its bytes are here, or come."""
        if now < self._pauses.get(each.id, (0, 0, 0.0))[2]:
            return False
        if each.source.kind is SourceKind.PATH or each.upload.complete:
            return self._parts.sources.kept(each.source)
        name = each.source.name
        return self._parts.sources.being_written(name) and each.upload.committed >= self._outgrow.get(each.id, 0)

    def _occupied(self, now: float) -> list[Place]:
        return [
            Place(each.record.id, each.record.spec.tenant, each.record.spec.priority, now - each.since)
            for each in self._running.values()
        ]

    def _watch_uploads(self, now: float) -> None:
        """An upload that stands still gives its place to whoever waits."""
        for each in self._running.values():
            media = each.attempt.media
            if media is None or media.complete or media.committed > each.size:
                each.grown, each.size = now, media.committed if media else 0
            elif now - each.grown > IDLE_SECONDS:
                self._outgrow[each.record.id] = each.size + 1
                each.stop(Stop.YIELD)

    def _watch_progress(self, now: float) -> None:
        """What has not got on for long is stopped. Who waits for memory that others at work hold is not to blame."""
        queueing = [each.attempt.queues_for_memory for each in self._running.values()]
        for each in self._running.values():
            if each.look(now) > self.stuck and each.why is None:
                if self._parts.disk.full or (each.attempt.queues_for_memory and not all(queueing)):
                    each.moved = now
                    continue
                log.error("session.stuck", analysis_id=each.record.id, stage=each.attempt.stage, seconds=self.stuck)
                each.stop(Stop.STUCK)

    def _excuse(self) -> None:
        """Nobody can get on now."""
        for each in self._running.values():
            each.moved = time.monotonic()

    async def _take_over_the_dead(self, now: float) -> None:
        """Requeue leases whose holders have not beaten for long, by our own clock."""
        leases = await self._store.leases()
        own = {each.lease for each in self._running.values()}
        self._beats = {
            lease: known if (known := self._beats.get(lease, (-1, 0.0)))[0] == beats else (beats, now)
            for lease, beats in leases.items()
            if lease not in own
        }
        for lease, (_, since) in list(self._beats.items()):
            if now - since > DEAD_SECONDS:
                log.warning("runner.lost", analysis_id=lease.analysis_id, owner=lease.owner)
                with suppress(LeaseLost):
                    await self._store.requeue(lease, reason="INTERRUPTED")

    async def _release_the_bound(self) -> None:
        """An analysis that was to end with its call ends with the server that had the call."""
        for each in await self._store.queued():
            if (await self._store.get(each.id)).spec.bound:
                await self._store.request_cancel(each.id)
                ended = AnalysisCancelled("the call that it was bound to ended with its server")
                self._tell_end(each.id, AnalysisState.CANCELLED, ended)

    async def _expire(self, each: Queued) -> None:
        lease = await self._store.claim(each.id, self.owner)
        if lease is not None:
            await self._fail(lease, DeadlineExceeded("the deadline passed before the analysis began"))

    # --- an attempt --------------------------------------------------------------------------------------------------

    async def _begin(self, lease: Lease) -> None:
        record = await self._store.get(lease.analysis_id)
        if record.interruptions >= self.interruptions:
            error = InternalError("the service died again and again while it worked on this media")
            await self._fail(lease, error, AnalysisState.QUARANTINED)
            return
        profiles = self._profiles.setdefault(record.id, self._parts.profiles)
        running = Running(record, lease, Attempt(self._parts, record, lease, profiles), time.monotonic())
        self._running[record.id] = running
        self._count()
        request = {"request_id": record.spec.request_id} if record.spec.request_id else {}
        # Every line and span of the attempt, and of what helps it, is this analysis'.
        with (
            structlog.contextvars.bound_contextvars(analysis_id=record.id, **request),
            tracing.continued(record.spec.traceparent),
        ):
            log.info("analysis.begun", analysis_id=record.id, attempt=record.attempts, segments=record.segments)
            running.task = asyncio.create_task(running.attempt.run(), name=f"analysis-{record.id}")
            end = asyncio.create_task(self._see_through(running))
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)
        running.task.add_done_callback(lambda _: self.wake())

    async def _see_through(self, running: Running) -> None:
        """Wait for an attempt, keep its lease and its deadline, and settle how it ended."""
        record, task = running.record, running.task
        assert task is not None
        helpers = [asyncio.create_task(running.keep_time())]
        if self._store.shared:
            helpers.append(asyncio.create_task(running.beat(self._store, BEAT_SECONDS, DEAD_SECONDS)))
        try:
            if not await running.ended(ABANDON_SECONDS):
                log.error("session.abandoned", analysis_id=record.id, stage=running.attempt.stage)
        finally:
            for helper in helpers:
                helper.cancel()
        self._service.add(record.id, record.spec.tenant, time.monotonic() - running.since, time.monotonic())
        try:
            await self._settle(running, task)
        except LeaseLost:
            log.warning("analysis.taken_over", analysis_id=record.id)
            self._forget(record.id)
        finally:
            del self._running[record.id]
            self._count()
            self._parts.news.tell(record.id)
            self.wake()

    async def _settle(self, running: Running, task: asyncio.Task[None]) -> None:
        record, lease, worked = running.record, running.lease, running.worked()
        logger = log.bind(analysis_id=record.id)
        error = running.why if not task.done() or task.cancelled() else task.exception()
        match error:
            case None:
                self._tell_end(record.id, AnalysisState.SUCCEEDED, worked=worked)
            case Stop.CANCEL:
                terminated = (await self._parts.commit(lambda: self._store.get(record.id))).terminated
                await self._fail(lease, AnalysisCancelled.of(terminated), AnalysisState.CANCELLED, worked)
            case Stop.DEADLINE:
                late = DeadlineExceeded("the deadline passed before the analysis ended")
                await self._fail(lease, late, worked=worked)
            case Stop.STUCK:
                await self._strike(running, AnalysisStuck(f"the analysis did not get on for {self.stuck:g} seconds"))
            case Stop.YIELD | Stop.DRAIN | Yielded():
                reason = error.name if isinstance(error, Stop) else Stop.YIELD.name
                logger.info("analysis.yielded", reason=reason)
                await self._requeue(lease, reason)
            case LeaseLost() | Stop.LOST:
                raise LeaseLost("the lease is lost")
            case VersionWithdrawn():
                logger.warning("analysis.version_withdrawn", message=str(error))
                await self._requeue(lease, error.reason)
            case Unavailable() if error.retryable and await self._pause(record.id):
                logger.warning("analysis.waits", reason=error.reason, message=str(error))
                await self._requeue(lease, error.reason)
            case DecoderCrashed() | InternalError():
                logger.error("analysis.faulted", reason=error.reason, message=str(error))
                await self._strike(running, error)
            case ReelsiftError():
                await self._fail(lease, error, worked=worked)
            case BaseException():
                logger.error("analysis.faulted", reason=InternalError.reason, exc_info=error)
                await self._strike(running, InternalError("an internal error ended this analysis"))

    async def _pause(self, analysis_id: str) -> bool:
        """Wait before the next attempt; False when it has been tried too often without getting on."""
        segments = (await self._store.get(analysis_id)).segments
        tries, at, _ = self._pauses.get(analysis_id, (0, segments, 0.0))
        tries = tries + 1 if at == segments else 1
        pause = PAUSE_SECONDS[min(tries, len(PAUSE_SECONDS)) - 1]
        self._pauses[analysis_id] = (tries, segments, time.monotonic() + pause)
        return tries <= MAX_PAUSES

    async def _strike(self, running: Running, error: ReelsiftError) -> None:
        if running.record.strikes + 1 >= MAX_STRIKES:
            await self._fail(running.lease, error, AnalysisState.QUARANTINED, running.worked())
        else:
            await self._requeue(running.lease, error.reason, strike=True)

    async def _requeue(self, lease: Lease, reason: str, *, strike: bool = False) -> None:
        await self._parts.commit(lambda: self._store.requeue(lease, reason=reason, strike=strike))
        self._telemetry.requeued(reason)

    async def _fail(
        self,
        lease: Lease,
        error: ReelsiftError,
        state: AnalysisState = AnalysisState.FAILED,
        worked: Worked | None = None,
    ) -> None:
        event = Failed(error.reason, error.grpc_code, str(error), error.retryable, tuple(sorted(error.detail.items())))
        await self._parts.commit(lambda: self._store.end(lease, event, state, (), worked.spent if worked else None))
        self._parts.news.tell(lease.analysis_id)
        self._tell_end(lease.analysis_id, state, error, worked)

    def _tell_end(
        self,
        analysis_id: str,
        state: AnalysisState,
        error: ReelsiftError | None = None,
        worked: Worked | None = None,
    ) -> None:
        """An analysis has ended; nothing is kept of it here."""
        self._forget(analysis_id)
        reason, told = (error.reason, {"message": str(error)}) if error else ("", {})
        took = {"duration_ms": round(worked.seconds * 1000)} if worked else {}
        log.info("analysis.ended", analysis_id=analysis_id, state=state.value, reason=reason, **told, **took)
        self._telemetry.ended(state, reason, worked)

    def _count(self) -> None:
        self._telemetry.working(len(self._running), 0 if self._draining or self.paused else self.places)

    def _forget(self, analysis_id: str) -> None:
        self._service.forget(analysis_id)
        self._pauses.pop(analysis_id, None)
        self._outgrow.pop(analysis_id, None)
        self._profiles.pop(analysis_id, None)

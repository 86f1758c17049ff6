"""One attempt on an analysis, top to bottom: decoder -> lanes -> segmenter -> log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator import tracing
from orchestrator.analyzers.batch import PictureBatch
from orchestrator.analyzers.registry import Selection
from orchestrator.core.frames import FrameBatch, Tap
from orchestrator.core.jobs import AnalyzerKey, Checkpoint
from orchestrator.core.media import DecodeLimits, LedgerMark, MediaInfo
from orchestrator.core.profiles import Profile
from orchestrator.core.results import (
    Annotation,
    Finished,
    ModelVersion,
    Progress,
    Segment,
    Shot,
    Started,
    Thumbnail,
    Value,
)
from orchestrator.core.segmenting import Boundary, PlannedSegment, Segmenter
from orchestrator.core.timeline import FrameTable, pts_to_ns
from orchestrator.pipeline.analysis_log import AnalysisLog, Outcome
from orchestrator.pipeline.keys import keys_by
from orchestrator.pipeline.known import Known, planned
from orchestrator.pipeline.lane import END, Lane, ends_the_attempt
from orchestrator.pipeline.resuming import Resumed, checkpoint
from orchestrator.pipeline.stages import Stages, Timed
from orchestrator.ports import (
    DecodeEvent,
    DecodeFinished,
    Decoder,
    DecodeRequest,
    DecodeSession,
    DecodeStart,
    Inference,
    MediaBytes,
    MediaOpened,
    TapAdvanced,
    TimelineGrew,
)

__all__ = ["Analysis", "AnalysisLog", "Known", "Outcome"]

PROGRESS_SECONDS = 0.5


@dataclass
class Analysis:
    """Runs one media through its analyzers. ``run`` is called once. ``session`` is the decoder's, ``opened``: its media is, and its models
    answer; so many segments are ``told``, those of earlier attempts included."""

    decoder: Decoder
    inference: Inference
    selection: Selection
    profile: Profile
    limits: DecodeLimits
    log: AnalysisLog
    stages: Stages = field(default_factory=Stages)
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.inference = Timed(self.inference, self.stages)
        self.session: DecodeSession | None = None
        self.opened = self.queues_for_memory = False
        self.media: MediaInfo
        self.told = 0
        self._moved = asyncio.Event()
        self._table = FrameTable()
        self._answered_frames = 0
        self._holders: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def run(
        self,
        source: MediaBytes,
        resume: tuple[Checkpoint, Sequence[Mapping[str, object]]] | None = None,
        known: Known | None = None,
    ) -> Outcome:
        """Analyse ``source`` to its end, from behind the checkpoint of an earlier attempt on. Raises the typed error of whatever
        went wrong."""
        self._known = known.within(self.selection) if known else None
        self._versions = self._known.versions if self._known else {}
        self._running = self._known.rest(self.selection) if self._known else self.selection
        self._resumed = Resumed.of(resume, segmented=self._known is None)
        self._failed = dict(self._resumed.failed)
        self._held = self._resumed.keys
        self.stages.resume(self._resumed.spent)
        self.told = self._resumed.done
        lanes = [analyzer for analyzer in self._running.analyzers if analyzer.name not in self._failed]
        self._lanes = [Lane(analyzer, self._moved.set, self._resumed.begin, self.stages) for analyzer in lanes]
        if self._known and not self._running.taps:
            return await self._take_over(self._known)
        models = asyncio.ensure_future(self.inference.ready(self._running.models))
        try:
            self.queues_for_memory = True
            async with self.decoder.open(source, self._request()) as session:
                self.session, self.queues_for_memory = session, False
                events = aiter(session.events())
                with tracing.span("media.open"):
                    opened = await anext(events)
                    if not isinstance(opened, MediaOpened):
                        raise AssertionError(f"a decoder opens with MediaOpened, not {type(opened).__name__}")
                    await self._open(opened)
                    await models
                self.opened = True
                self.stages.add("open", time.monotonic() - self._began)
                segments, end = await self._flow(session, events)
        finally:
            models.cancel()
            for lane in self._lanes:
                lane.cancel()
            if self._running.shots:
                self._running.shots.cancel()
            await asyncio.gather(models, *self._holders, return_exceptions=True)
        # Last of all: nothing can go wrong any more.
        return self._finish(segments, end)

    def _request(self) -> DecodeRequest:
        taps, shots, resumed = self._running.taps, self._running.shots, self._resumed
        if not resumed.begin:
            return DecodeRequest(taps, self.limits)
        first = dict.fromkeys(taps, resumed.begin)
        if shots is not None:
            alone = all(analyzer.tap != shots.tap for analyzer in self._running.analyzers)
            first[shots.tap] = resumed.shots_begin if alone else min(resumed.shots_begin, resumed.begin)
        return DecodeRequest(taps, self.limits, DecodeStart(tuple(first[tap] for tap in taps), resumed.mark))

    async def _open(self, opened: MediaOpened) -> None:
        media = self.media = opened.media
        self._segmenter = Segmenter(self._table, media.time_base, self.profile.max_segment_ns)
        resumed = self._resumed
        if resumed.begin and self._known is None:
            self._segmenter.restore(resumed.state["segmenter"])
            if self._running.shots is not None:
                self._running.shots.restore(resumed.state[self._running.shots.name])
        for lane in self._lanes:
            lane.open(media)
            await lane.recall(resumed.memos(lane.analyzer.name))
        await self._tell_started(media, opened.decoder)

    async def _tell_started(self, media: MediaInfo, decoder: str = "") -> None:
        plan = self._known.plan if self._known else None
        reused = tuple(name for name in self.selection.names if plan and name in plan.analyzers)
        reused_from = plan.analysis_id if plan else ""
        await self.log.started(Started(media, self.profile.name, self.selection.names, reused, reused_from, decoder))

    async def _take_over(self, known: Known) -> Outcome:
        """Everything is known: no frame is decoded, no model asked."""
        await self._tell_started(known.media)
        for segment in known.segments[self._resumed.done :]:
            taken, thumbnail = known.kept(segment)
            annotations = tuple(taken[name] for name in self.selection.names if name in taken)
            told = Segment(segment.index, segment.interval, annotations, thumbnail, segment.final)
            state = {"analysis": self._account()}
            await self.log.segment(told, checkpoint(planned(segment), state, LedgerMark(), {}))
        end = known.finished
        fate = (end.ledger, end.partial, end.first_bad_pts, end.fault)
        return self._outcome(Finished(end.segments, end.media_ns, self.elapsed_ns, *fate))

    async def _flow(self, session: DecodeSession, events: Any) -> tuple[int, DecodeFinished]:
        """Read, analyse and close side by side; returns the number of segments, and how the media ended."""
        closing = asyncio.ensure_future(self._close_segments(session))
        reporting = asyncio.ensure_future(self._report_progress(session))
        reading = asyncio.ensure_future(self._decode(session, events))
        tasks: list[asyncio.Task[Any]] = [closing, reporting, reading]
        try:
            # A failed reader or closer ends the analysis at once; the closer ends last when all is well.
            await asyncio.wait([closing, reading], return_when=asyncio.FIRST_EXCEPTION)
            for task in (reading, closing):
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return closing.result(), reading.result()

    def _finish(self, segments: int, end: DecodeFinished) -> Outcome:
        media_ns = pts_to_ns(end.end_pts - self.media.start_pts, self.media.time_base)
        fate = (end.partial, end.first_bad_pts, end.fault)
        failed = tuple((name, self._failed[name]) for name in self.selection.names if name in self._failed)
        return self._outcome(Finished(segments, media_ns, self.elapsed_ns, end.ledger, *fate, failed))

    def _outcome(self, finished: Finished) -> Outcome:
        held = self._hold_keys()
        return Outcome(finished, tuple(AnalyzerKey(*each) for each in held.items() if each[0] not in self._failed))

    # --- from the decoder to the lanes -------------------------------------------------------------------------------

    async def _decode(self, session: DecodeSession, events: Any) -> DecodeFinished:
        with tracing.span("decode", current=False):
            return await self._read(session, events)

    async def _read(self, session: DecodeSession, events: Any) -> DecodeFinished:
        lanes: Mapping[Tap, list[Lane]] = {
            tap: [lane for lane in self._lanes if lane.analyzer.tap == tap] for tap in self._running.taps
        }
        shots = self._running.shots
        while event := await self._next(session, events):
            if isinstance(event, FrameBatch):
                await self._dispatch(event, lanes[event.tap])
            elif isinstance(event, TimelineGrew):
                self._table.extend(event.pts)
                if shots is None:
                    self._cut([], len(self._table))
            elif isinstance(event, TapAdvanced):
                for lane in lanes[event.tap]:
                    lane.advance(event.through)
            elif isinstance(event, DecodeFinished):
                self._table.finish(event.end_pts)
                frames = len(self._table)
                for lane in self._lanes:
                    lane.advance(END)
                if shots is not None:
                    with self.stages.during(f"infer/{shots.name}"):
                        await shots.finish(frames, self.inference, self._cut)
                self._cut([], frames)
                return event
        raise AssertionError("a decoder ends with DecodeFinished")

    async def _next(self, session: DecodeSession, events: Any) -> DecodeEvent | None:
        """The decoder's next event. What is waited for it is the decoder's time, or the client's, whose bytes are missing."""
        began, starved = time.monotonic(), session.starved_seconds
        try:
            event: DecodeEvent | None = await anext(events, None)
            return event
        finally:
            waited = time.monotonic() - began
            fetching = min(waited, session.starved_seconds - starved)
            self.stages.add("decode", waited - fetching)
            if fetching:
                self.stages.add("fetch", fetching)

    async def _dispatch(self, batch: FrameBatch, lanes: list[Lane]) -> None:
        """Give a batch to all who share its tap; its slot returns when the last has done with it."""
        holders: list[asyncio.Task[Any]] = []
        pictures = PictureBatch.of(batch, self.inference)
        try:
            shots = self._running.shots
            if shots is not None and batch.tap == shots.tap:
                with self.stages.during(f"infer/{shots.name}"):
                    await shots.feed(batch, self.inference, self._cut)
            for lane in lanes:
                task = await lane.put(pictures)
                if task is not None:
                    holders.append(task)
        finally:
            if batch.slot is not None:
                if holders:
                    release = asyncio.ensure_future(self._release(pictures, holders))
                    self._holders.add(release)
                    release.add_done_callback(self._holders.discard)
                else:
                    batch.slot.release()

    async def _release(self, pictures: PictureBatch, holders: list[asyncio.Task[Any]]) -> None:
        results = await asyncio.gather(*holders, return_exceptions=True)
        await pictures.close()
        assert pictures.batch.slot is not None
        pictures.batch.slot.release()
        for result in results:
            if isinstance(result, Exception) and ends_the_attempt(result) and self._failure is None:
                self._failure = result
                self._moved.set()

    def _cut(self, boundaries: Sequence[Boundary], settled: int) -> None:
        self._segmenter.add(boundaries, settled)
        self._moved.set()

    # --- from the lanes to the log -----------------------------------------------------------------------------------

    async def _close_segments(self, session: DecodeSession) -> int:
        """Close every segment once all lanes have answered for it; returns their number after the last one."""
        async for plan, before in self._plans():
            with tracing.span("segment", segment=plan.index):
                if not self._covered(plan):
                    session.hurry(plan.interval.end_frame)
                while not self._covered(plan):
                    await self._wait()
                with self.stages.during("segment"):
                    told, memo = self._close(plan, before)
                # Taken without a pause: what its parts say fits together.
                point = checkpoint(plan, self._state(), session.mark(), memo)
                if plan.index >= self._resumed.done:
                    await self.log.segment(told, point)
                    self.told = plan.index + 1
            self._answered_frames = plan.interval.end_frame
        return self._closed

    async def _plans(self) -> AsyncIterator[tuple[PlannedSegment, Segment | None]]:
        """Segments in order, each when its extent is final; with what is known of it."""
        self._closed = self._resumed.done
        if self._known is not None:
            for segment in self._known.segments[self._resumed.done :]:
                yield planned(segment), segment
                self._closed = segment.index + 1
            return
        while not self._segmenter.done:
            plan = self._segmenter.next()
            if plan is None:
                await self._wait()
                continue
            yield plan, None
            self._closed = plan.index + 1

    async def _wait(self) -> None:
        """Until something has moved."""
        await self._moved.wait()
        self._moved.clear()
        if self._failure is not None:
            raise self._failure

    def _covered(self, plan: PlannedSegment) -> bool:
        return all(lane.covers(plan.interval.end_frame) for lane in self._lanes)

    def _close(self, plan: PlannedSegment, known: Segment | None) -> tuple[Segment, Mapping[str, object]]:
        annotations: dict[str, Annotation] = {}
        thumbnail: Thumbnail | None = None
        memo: dict[str, object] = {}
        if self._known is not None and known is not None:
            annotations, thumbnail = self._known.kept(known)
        if (shots := self._running.shots) is not None:
            shot = Shot(plan.shot_index, plan.starts_shot, plan.boundary_score)
            annotations[shots.name] = self._annotation(shots, shot, plan.interval.frames, 0)
        for lane in self._lanes:
            value, seen, remembered = lane.close(plan)
            name = lane.analyzer.name
            if lane.missing and lane.failure is not None:
                self._failed[name] = lane.failure
            if remembered is not None:
                memo[name] = remembered
            reused = sum(observation.reused for observation in seen)
            if plan.index >= self._resumed.done:
                self.stages.given(name, len(seen), reused)
            if isinstance(value, Thumbnail):
                thumbnail = value
            elif value is not None:
                annotations[name] = self._annotation(lane.analyzer, value, len(seen), reused)
        ordered = tuple(annotations[name] for name in self.selection.names if name in annotations)
        return Segment(plan.index, plan.interval, ordered, thumbnail, plan.final), memo

    def _annotation(self, analyzer: Any, value: Value, frames: int, reused: int) -> Annotation:
        versions = tuple(self.inference.version(model) for model in analyzer.models)
        return Annotation(analyzer.name, versions, value, frames, reused)

    # --- what another attempt needs ----------------------------------------------------------------------------------

    def _state(self) -> dict[str, object]:
        state: dict[str, object] = {"analysis": self._account()}
        if self._known is None:
            state["segmenter"] = self._segmenter.state()
            if self._running.shots is not None:
                state[self._running.shots.name] = self._running.shots.state()
        return state

    def _account(self) -> Mapping[str, object]:
        failed, keys = dict(self._failed), self._hold_keys()
        return {"elapsed_ns": self.elapsed_ns, "failed": failed, "keys": keys, "spent": self.stages.state()}

    def _hold_keys(self) -> Mapping[str, str]:
        """The keys that hold now as they have held from the first segment on: a model may change at any time."""
        now = {each.analyzer: each.key for each in keys_by(self.profile, self.selection, self._version)}
        before = now if self._held is None else self._held
        self._held = {name: key for name, key in now.items() if before.get(name) == key}
        return self._held

    def _version(self, model: str) -> ModelVersion | None:
        return self.inference.version(model) if model in self._running.models else self._versions.get(model)

    # --- progress ----------------------------------------------------------------------------------------------------

    async def _report_progress(self, session: DecodeSession) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            await self.log.progress(self._progress(session))

    def _progress(self, session: DecodeSession) -> Progress:
        at_work = [lane.through for lane in self._lanes if lane.failure is None]
        frames = min(min(at_work, default=self._answered_frames), len(self._table) - 1)
        done = self._table.pts[frames] - self.media.start_pts if frames > 0 else 0
        media_ns, elapsed = pts_to_ns(done, self.media.time_base), self.elapsed_ns
        eta = None
        if self.media.duration_ns and media_ns > 0:
            eta = max(0, (self.media.duration_ns - media_ns) * elapsed // media_ns)
        return Progress(media_ns, elapsed, session.ledger(), eta)

    @property
    def media_ns(self) -> int:
        """How far it is: every analyzer has answered up to there."""
        return self._progress(self.session).media_ns if self.session is not None and self.opened else 0

    @property
    def elapsed_ns(self) -> int:
        """Time spent, that of earlier attempts included."""
        return self._resumed.elapsed_ns + int((time.monotonic() - self._began) * 1e9)

"""One analysis, top to bottom: decoder -> lanes -> segmenter -> store."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.analyzers.batch import PictureBatch
from orchestrator.analyzers.registry import Selection
from orchestrator.core.frames import FrameBatch, Tap
from orchestrator.core.media import DecodeLimits, MediaInfo
from orchestrator.core.profiles import Profile
from orchestrator.core.results import (
    AnalysisEvent,
    Annotation,
    Finished,
    Progress,
    Segment,
    SegmentClosed,
    Shot,
    Started,
    Thumbnail,
)
from orchestrator.core.segmenting import Boundary, PlannedSegment, Segmenter
from orchestrator.core.timeline import FrameTable, pts_to_ns
from orchestrator.pipeline.lane import Lane
from orchestrator.ports import (
    DecodeFinished,
    Decoder,
    DecodeRequest,
    DecodeSession,
    Inference,
    MediaBytes,
    MediaOpened,
    TapAdvanced,
    TimelineGrew,
)

PROGRESS_SECONDS = 0.5
Emit = Callable[[AnalysisEvent], Any]  # an async callable that stores an event


@dataclass
class Analysis:
    """Runs one media through its analyzers. ``run`` is called once."""

    decoder: Decoder
    inference: Inference
    selection: Selection
    profile: Profile
    limits: DecodeLimits
    emit: Emit
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._moved = asyncio.Event()
        self._table = FrameTable()
        self._lanes = [Lane(analyzer, self._moved.set) for analyzer in self.selection.analyzers]
        self._planned: deque[PlannedSegment] = deque()
        self._answered_frames = 0
        self._holders: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def run(self, source: MediaBytes) -> None:
        """Analyse ``source`` to its end. Raises the typed error of whatever went wrong."""
        request = DecodeRequest(self.selection.taps, self.limits)
        models = asyncio.ensure_future(self.inference.ready(self.selection.models))
        try:
            async with self.decoder.open(source, request) as session:
                events = aiter(session.events())
                opened = await anext(events)
                if not isinstance(opened, MediaOpened):
                    raise AssertionError(f"a decoder opens with MediaOpened, not {type(opened).__name__}")
                await self._open(opened.media)
                await models
                segments, end = await self._flow(session, events)
        finally:
            models.cancel()
            for lane in self._lanes:
                lane.cancel()
            if self.selection.shots:
                self.selection.shots.cancel()
            await asyncio.gather(models, *self._holders, return_exceptions=True)
        # Last of all: nothing can go wrong any more.
        await self._finish(segments, end)

    async def _open(self, media: MediaInfo) -> None:
        self._media = media
        self._segmenter = Segmenter(self._table, media.time_base, self.profile.max_segment_ns)
        for analyzer in self.selection.analyzers:
            analyzer.open(media)
        await self.emit(Started(media, self.profile.name, self.selection.names))

    async def _flow(self, session: DecodeSession, events: Any) -> tuple[int, DecodeFinished]:
        """Read, analyse and close side by side; returns the number of segments, and how the media ended."""
        closing = asyncio.ensure_future(self._close_segments(session))
        reporting = asyncio.ensure_future(self._report_progress(session))
        reading = asyncio.ensure_future(self._read(events))
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

    async def _finish(self, segments: int, end: DecodeFinished) -> None:
        media_ns = pts_to_ns(end.end_pts - self._media.start_pts, self._media.time_base)
        fate = (end.partial, end.first_bad_pts, end.fault)
        await self.emit(Finished(segments, media_ns, self._elapsed_ns(), end.ledger, *fate))

    # --- from the decoder to the lanes -------------------------------------------------------------------------------

    async def _read(self, events: Any) -> DecodeFinished:
        lanes: Mapping[Tap, list[Lane]] = {
            tap: [lane for lane in self._lanes if lane.analyzer.tap == tap] for tap in self.selection.taps
        }
        shots = self.selection.shots
        async for event in events:
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
                    lane.advance(frames)
                if shots is not None:
                    await shots.finish(frames, self.inference, self._cut)
                self._cut([], frames)
                return event
        raise AssertionError("a decoder ends with DecodeFinished")

    async def _dispatch(self, batch: FrameBatch, lanes: list[Lane]) -> None:
        """Give a batch to all who share its tap; its slot returns when the last has done with it."""
        holders: list[asyncio.Task[Any]] = []
        pictures = PictureBatch.of(batch, self.inference)
        try:
            if self.selection.shots is not None and batch.tap == self.selection.shots.tap:
                await self.selection.shots.feed(batch, self.inference, self._cut)
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
            if isinstance(result, Exception) and self._failure is None:
                self._failure = result
                self._moved.set()

    def _cut(self, boundaries: list[Boundary], settled: int) -> None:
        self._segmenter.add(boundaries, settled)
        self._moved.set()

    # --- from the lanes to the store ---------------------------------------------------------------------------------

    async def _close_segments(self, session: DecodeSession) -> int:
        """Close every segment once all lanes have answered for it; returns their number after the last one."""
        closed, hurried = 0, 0
        while True:
            await self._moved.wait()
            self._moved.clear()
            if self._failure is not None:
                raise self._failure
            self._planned.extend(self._segmenter.advance())
            while self._planned and all(lane.through >= self._planned[0].interval.end_frame for lane in self._lanes):
                plan = self._planned.popleft()
                await self.emit(SegmentClosed(self._close(plan)))
                self._answered_frames = plan.interval.end_frame
                closed += 1
                if plan.final:
                    return closed
            if self._planned and (waited := self._planned[0].interval.end_frame) > hurried:
                session.hurry(waited)
                hurried = waited

    def _close(self, plan: PlannedSegment) -> Segment:
        annotations: list[Annotation] = []
        thumbnail: Thumbnail | None = None
        if self.selection.shots is not None:
            shot = Shot(plan.shot_index, plan.starts_shot, plan.boundary_score)
            annotations.append(self._annotation("shots", self.selection.shots.models, shot, plan.interval.frames, 0))
        for lane in self._lanes:
            seen = lane.take(plan.interval.end_frame)
            value = lane.analyzer.close(plan, seen)
            if isinstance(value, Thumbnail):
                thumbnail = value
            elif value is not None:
                reused = sum(observation.reused for observation in seen)
                analyzer = lane.analyzer
                annotations.append(self._annotation(analyzer.name, analyzer.models, value, len(seen), reused))
        return Segment(plan.index, plan.interval, tuple(annotations), thumbnail, plan.final)

    def _annotation(self, analyzer: str, models: tuple[str, ...], value: Any, frames: int, reused: int) -> Annotation:
        versions = tuple(self.inference.version(model) for model in models)
        return Annotation(analyzer, versions, value, frames, reused)

    # --- progress ----------------------------------------------------------------------------------------------------

    async def _report_progress(self, session: DecodeSession) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            await self.emit(self._progress(session))

    def _progress(self, session: DecodeSession) -> Progress:
        frames = min([lane.through for lane in self._lanes], default=self._answered_frames)
        frames = min(frames, len(self._table) - 1)
        done = self._table.pts[frames] - self._media.start_pts if frames > 0 else 0
        media_ns, elapsed = pts_to_ns(done, self._media.time_base), self._elapsed_ns()
        eta = None
        if self._media.duration_ns and media_ns > 0:
            eta = max(0, (self._media.duration_ns - media_ns) * elapsed // media_ns)
        return Progress(media_ns, elapsed, session.ledger(), eta)

    def _elapsed_ns(self) -> int:
        return int((time.monotonic() - self._started) * 1e9)

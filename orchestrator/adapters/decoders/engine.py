"""The decode engine of a worker: one demuxing thread that plans, several that decode units in parallel.

Runs inside the locked worker; everything it tells goes through ``send``. Threads exist before the lock-down and enter
at ``demux`` and ``work``.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from orchestrator.adapters.decoders import container as media
from orchestrator.adapters.decoders.codecs import CpuCodec
from orchestrator.adapters.decoders.job import Job
from orchestrator.adapters.decoders.offload import GpuCodec, Offload, stream_of
from orchestrator.adapters.decoders.reading import MediaReader
from orchestrator.adapters.decoders.scaling import MemoryCanvas, clockwise
from orchestrator.adapters.decoders.sequencer import LEDGER, Canvas, Progress, Sequencer, Stopped
from orchestrator.adapters.decoders.state import CPU, GPU
from orchestrator.adapters.decoders.units import UnitDecoder
from orchestrator.adapters.decoders.wire import encode
from orchestrator.adapters.gpu.wire import ConnectionLost, Stream
from orchestrator.core.decode_plan import Feed, Packet, Planner, Step
from orchestrator.errors import AnalysisCancelled, MediaUnreadable, ReelsiftError

MAX_QUEUED_BYTES = 64 << 20
MAX_QUEUED_PACKETS = 1024
MAX_UNITS = 256
CRASHED = 70  # exit status of a worker that met an error of ours


class _Work:
    """A unit on its way to a decoding thread."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.feeds: deque[Feed] = deque()


class Engine:
    """Decodes one job."""

    def __init__(
        self,
        job: Job,
        reader_of: Callable[[Callable[[int | None], None]], MediaReader],
        slots: Sequence[Sequence[MemoryCanvas]],
        send: Callable[[bytes], object],
        threads: int,
        offload: Offload | None = None,
    ) -> None:
        self._job, self._send, self._threads, self._offload = job, send, threads, offload
        self._reader = reader_of(self._starving)
        resume = job.resume
        counts = dict(zip(LEDGER, resume.counts, strict=True))
        canvases: Sequence[Sequence[Canvas]] = offload.canvases(slots) if offload else slots
        self.sequencer = Sequencer(job.taps, canvases, job.free, send, resume.deliver, resume.counted, counts)
        self.sequencer.first_bad_pts = resume.bad
        self._changed = self.sequencer.condition
        self._planner: Planner | None = None
        self._facts: dict[str, object] = {}
        self._stream: Stream | None = None
        self._open: dict[int, _Work] = {}
        self._queue: deque[_Work] = deque()
        self._queued_bytes = self._queued_packets = self._busy = self._hurried = 0
        self._starved = self._ended = False
        self._decoders: list[UnitDecoder] = []
        self._spoke = time.monotonic()

    # --- control ---

    def hurry(self, through: int) -> None:
        """See ``DecodeSession.hurry``."""
        self._hurried = max(self._hurried, through)
        self.sequencer.hurry(through)

    def fail(self, error: ReelsiftError) -> None:
        """Tell the service why no more will come, and stop."""
        self._send(encode("failed", reason=error.reason))
        self.sequencer.stop()

    # --- the demuxing thread ---

    def demux(self) -> None:
        """Read the media to its end; returns when everything has been sent."""
        self._guard(self._demux)

    def _demux(self) -> None:
        opened = media.open_media(self._reader, self._job.limits.max_pixels)
        contexts = [media.make_decoder(opened.stream, self._job.limits.max_pixels) for _ in range(self._threads)]
        rate = opened.average_rate
        step = int(1 / (rate * opened.time_base)) if rate else 1
        planner = Planner([tap.sampling for tap in self._job.taps], opened.time_base, step, self._job.resume.begin)
        skips = media.may_skip_references(opened.codec, opened.stream.codec_context.extradata)
        latest = duration = 0
        damaged = begun = False
        for packet in self._packets(opened):
            if packet is None:
                damaged = True
                continue
            if not begun and packet.is_keyframe:
                begun = True
                self._examine(opened, contexts[0], packet)
                self._decoders = self._unit_decoders(opened, contexts, skips)
                self._planner = planner
            shown = media.is_shown(opened.codec, packet)
            planned = Packet(packet, packet.pts, packet.dts, packet.is_keyframe, shown, packet.size)
            damaged = damaged or packet.is_corrupt
            step_out = planner.add(planned)
            if packet.pts != planned.pts:
                packet.pts = planned.pts
            if planned.shown and (not duration or planned.pts > latest):
                latest, duration = planned.pts, packet.duration or (step if rate else max(1, planned.pts - latest))
            if step_out is not None:
                self._distribute(step_out)
        step_out = planner.finish()
        if step_out is not None:
            self._distribute(step_out)
        self._finish(opened, planner, max(1, duration), damaged)

    def _unit_decoders(
        self, opened: media.Opened, contexts: Sequence[VideoCodecContext], skips: bool
    ) -> list[UnitDecoder]:
        """One for each thread: on the GPU where it can, with the CPU to its rescue, else on the CPU."""
        job = self._job
        arguments = job.taps, job.resume.deliver, job.resume.lent, job.limits
        on_cpu = [CpuCodec(context, job.taps, skips, self._alive) for context in contexts]
        on_gpu: Sequence[GpuCodec] = ()
        if self._offload is not None and self._stream is not None:
            extradata = opened.stream.codec_context.extradata
            on_gpu = self._offload.codecs(self._stream, extradata, job.taps, self._alive)
        self._facts["decoder"] = GPU if on_gpu else CPU
        if not on_gpu:
            return [UnitDecoder(codec, *arguments) for codec in on_cpu]
        return [UnitDecoder(codec, *arguments, rescue=rescue) for codec, rescue in zip(on_gpu, on_cpu, strict=True)]

    def _packets(self, opened: media.Opened) -> Iterator[av.Packet[VideoStream] | None]:
        """Packets of the video in decode order; ``None`` where the container is damaged."""
        fruitless = 0
        while fruitless < 3:
            fruitless += 1
            try:
                for packet in opened.container.demux(opened.stream):
                    if packet.size:
                        fruitless = 0
                        yield packet
                return
            except media.MEDIA_ERRORS:
                end = media.promised_end(self._reader)
                if end is not None and self._reader.tell() >= end:
                    return  # garbage behind a whole file
                yield None

    def _examine(self, opened: media.Opened, context: VideoCodecContext, packet: av.Packet[VideoStream]) -> None:
        """Find out what the media is, by its first keyframe: headers lie about sizes, and only frames know their
        rotation.
        """
        media.check_clear(packet)
        context.open(strict=False)
        frames: list[av.VideoFrame] = []
        try:
            frames = [*context.decode(packet), *context.decode(None)]
        except media.MEDIA_ERRORS:
            media.check_pixels(context, self._job.limits.max_pixels)
            # else its frame will be counted as corrupt when its unit is decoded
        context.flush_buffers()
        width, height, depth, turn = context.width, context.height, 8, 0
        if frames:
            media.check_pixels(frames[0], self._job.limits.max_pixels)
            width, height, turn = frames[0].width, frames[0].height, clockwise(frames[0])
            depth = frames[0].format.components[0].bits
            self._stream = stream_of(opened.codec, frames[0], turn)
        if turn in (90, 270):
            width, height = height, width
        rate = opened.average_rate
        self._facts = {
            "container": opened.format,
            "codec": opened.codec,
            "facts": [width, height, turn, opened.time_base.numerator, opened.time_base.denominator, depth],
            "duration_ns": opened.duration_ns,
            "rate": [rate.numerator, rate.denominator] if rate else [0, 1],
        }

    def _distribute(self, step: Step) -> None:
        if self._facts and step.pts:
            self._send(encode("opened", start=step.pts[0], **self._facts))
            self._facts = {}
        fresh = max(0, self._job.resume.known - step.first_index)
        for at in range(fresh, len(step.pts), 1024):
            self._send(encode("timeline", first=step.first_index + at, pts=step.pts[at : at + 1024]))
        for feed in step.feeds:
            self._route(feed)
        with self._changed:
            while (
                len(self._queue) > self._threads
                or self._queued_bytes > MAX_QUEUED_BYTES
                or self._queued_packets > MAX_QUEUED_PACKETS
                or self.sequencer.waiting > MAX_UNITS
            ):
                self._wait()

    def _route(self, feed: Feed) -> None:
        work = self._open.get(feed.unit)
        if work is None:
            self.sequencer.begin(feed.unit)
            if feed.last and not feed.packets:
                self.sequencer.put(feed.unit, Progress(feed.through))
                self.sequencer.end(feed.unit)
                return
            work = self._open[feed.unit] = _Work(feed.unit)
            with self._changed:
                self._queue.append(work)
        with self._changed:
            work.feeds.append(feed)
            self._queued_packets += len(feed.packets)
            self._queued_bytes += _nbytes(feed)
            self._changed.notify_all()
        if feed.last:
            del self._open[feed.unit]

    def _starving(self, needed: int | None) -> None:
        """The reader waits for byte ``needed`` (``None``: it has come)."""
        if needed is None:
            self._starved = False
            self._send(encode("fed"))
            return
        if self.sequencer.stopped:
            raise Stopped
        if not self._starved:
            self._starved = True
            self._send(encode("starved", needed=needed))
            step = self._planner.flush() if self._planner else None
            if step is not None:
                self._distribute(step)
        with self._changed:
            if self._hurried and not self._busy and not self._queued_packets and not self._queue:
                self.sequencer.flush(self._hurried)

    def _finish(self, opened: media.Opened, planner: Planner, duration: int, damaged: bool) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            while self.sequencer.waiting:
                self._wait()
        if self._reader.aborted:
            raise AnalysisCancelled("the upload was given up")
        if planner.last_pts is None:
            raise MediaUnreadable("no frame could be decoded")
        sequencer = self.sequencer
        sequencer.flush(None)
        fields, counts = sequencer.ledger(), dict(sequencer.counts)  # what is added here another worker adds anew
        promised = len(opened.stream.index_entries) if opened.indexed else 0
        absent = max(0, promised - planner.packets)
        end = media.promised_end(self._reader)
        broken = absent > 0 or (not promised and (damaged or (end is not None and end > self._reader.size())))
        end_pts = planner.last_pts + duration
        lost = planner.late + self._wanted_among(absent, duration, opened)
        counts["expected"] += lost
        counts["dropped"] += lost
        counts["source"] = planner.frames + planner.late + absent
        if not counts["decoded"]:
            raise MediaUnreadable("no frame could be decoded")
        bad = [
            pts
            for pts in (sequencer.first_bad_pts, planner.first_late_pts, end_pts if broken else None)
            if pts is not None
        ]
        counts["skipped"] = max(0, counts["source"] - counts["expected"])
        fields["final"] = [counts[name] for name in LEDGER]
        fields["first_bad"] = min(bad) if bad else None
        self._send(encode("finished", end=end_pts, frames=planner.frames, partial=int(broken or bool(bad)), **fields))

    def _wanted_among(self, absent: int, step: int, opened: media.Opened) -> int:
        """How many of the absent frames some tap would take, were they shown at the last frame's pace."""
        if not absent:
            return 0
        rates = [tap.sampling.fps for tap in self._job.taps if not tap.sampling.keyframes]
        taken = [absent if fps is None else min(absent, int(absent * step * opened.time_base * fps)) for fps in rates]
        return max(taken, default=0)

    # --- a decoding thread ---

    def work(self, number: int) -> None:
        """Decode units until the media has ended."""
        self._guard(lambda: self._work(number))

    def _work(self, number: int) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._ended:
                        return
                    self._wait()
                work = self._queue.popleft()
                self._changed.notify_all()
            decoder = self._decoders[number]
            decoder.start(partial(self.sequencer.put, work.number))
            last = False
            while not last:
                feed = self._next_feed(work)
                decoder.feed(feed)
                last = feed.last
                if not last:
                    with self._changed:
                        self._busy -= 1
            self.sequencer.end(work.number)
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _next_feed(self, work: _Work) -> Feed:
        """The unit's next piece; while it waits, pictures kept for their turn are written."""
        while True:
            with self._changed:
                while not work.feeds and not self.sequencer.holds(work.number):
                    self._wait()
                if work.feeds:
                    feed = work.feeds.popleft()
                    self._busy += 1
                    self._queued_packets -= len(feed.packets)
                    self._queued_bytes -= _nbytes(feed)
                    self._changed.notify_all()
                    return feed
                self._busy += 1
            self.sequencer.catch_up(work.number)
            with self._changed:
                self._busy -= 1

    # --- shared ---

    def _alive(self) -> None:
        now = time.monotonic()
        if now - self._spoke > 1.0:
            self._spoke = now
            self._send(encode("alive"))

    def _guard(self, run: Callable[[], None]) -> None:
        """Run a thread; an error of the media is told, an error of ours ends the process (its death is handled
        outside).
        """
        try:
            run()
        except Stopped:
            pass
        except ReelsiftError as error:
            self.fail(AnalysisCancelled("the upload was given up") if self._reader.aborted else error)
        except ConnectionLost:
            with contextlib.suppress(OSError):
                self._send(encode("lost"))
            os._exit(CRASHED)
        except BaseException as error:
            with contextlib.suppress(OSError):
                self._send(encode("broken", error=type(error).__name__, where=_where(error)))
            os._exit(CRASHED)

    def _wait(self) -> None:
        if self.sequencer.stopped:
            raise Stopped
        self._changed.wait()
        if self.sequencer.stopped:
            raise Stopped


def _where(error: BaseException) -> str:
    """Function and line that raised, as one word."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name.strip('<>')}_{trace.tb_lineno}" if trace else "unknown"


def _nbytes(feed: Feed) -> int:
    return sum(packet.payload.size for packet in feed.packets)  # type: ignore[attr-defined]


def parked(enter: threading.Event, run: Callable[[], None], name: str) -> threading.Thread:
    """A started daemon thread that runs ``run`` once ``enter`` is set."""

    def body() -> None:
        enter.wait()
        run()

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    return thread

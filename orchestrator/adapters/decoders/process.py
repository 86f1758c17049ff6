"""The CPU decoder: one sandboxed worker process per media, replaced when it dies.

A session survives its workers: what was delivered is remembered per tap, and the next worker continues there, so that the
events are those of a run without a crash.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count

import structlog

from orchestrator.adapters.decoders.forking import ForkServer
from orchestrator.adapters.decoders.job import Job, encode_job
from orchestrator.adapters.decoders.slots import TapSlots
from orchestrator.adapters.decoders.state import SessionState
from orchestrator.adapters.decoders.wire import Message, ProtocolError, encode
from orchestrator.adapters.decoders.workers import Worker, WorkerDied, WorkerHung, WorkerLost
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu.process import GpuProcess, GpuSession, GpuUnavailable
from orchestrator.core.media import Ledger, LedgerMark
from orchestrator.errors import (
    AnalysisCancelled,
    DecodeBudget,
    DecoderCrashed,
    Encrypted,
    InternalError,
    MediaTooLarge,
    MediaUnreadable,
    NoVideoStream,
    ReelsiftError,
    UnsupportedCodec,
    UnsupportedFormat,
)
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import DecodeEvent, DecodeFinished, DecodeRequest, DecodeSession, MediaBytes

PATIENCE = (
    3  # deaths at one place before the media is to blame: two may be an operator's, or the kernel's, short of memory
)
HANG = 2  # a hang costs half a minute each time, so it weighs more
LOSS = 0.25  # no media reaches what workers are forked from, so it weighs less; but it is not tried for ever

log = structlog.get_logger(__name__)

# A worker names a reason; the words are ours, for it has read hostile bytes.
_REFUSALS: dict[str, tuple[type[ReelsiftError], str]] = {
    error.reason: (error, text)
    for error, text in (
        (MediaUnreadable, "no video frame could be decoded from these bytes"),
        (MediaTooLarge, "a video frame has more pixels than the limit"),
        (NoVideoStream, "the media has no video stream"),
        (UnsupportedFormat, "these bytes are not a video container that is accepted here"),
        (UnsupportedCodec, "the video codec is not accepted here"),
        (Encrypted, "the video is encrypted"),
        (AnalysisCancelled, "the upload was given up"),
        (DecodeBudget, "decoding took more CPU time than its budget"),
    )
}


class ProcessDecoder:
    """A ``Decoder``. ``threads`` decode in parallel inside each worker; with ``gpu`` they have it done there, where it can be.

    Call ``start()`` inside the event loop so that the first worker is there at once, and ``close()`` in the end. ``crashes``: workers that
    died at work.
    """

    def __init__(
        self,
        arena: Arena,
        *,
        threads: int | None = None,
        address_space: int = 6 << 30,
        gpu: GpuProcess | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._arena, self._gpu, self._telemetry = arena, gpu, telemetry or Telemetry()
        self._forks = ForkServer()
        self._threads = threads or min(len(os.sched_getaffinity(0)), 4)
        self._start_worker = partial(Worker.start, self._forks, self._threads, address_space)
        self._numbers = count(1)
        self._allocating = asyncio.Lock()  # two sessions that each hold half of the arena would wait for ever
        self.crashes = 0

    @property
    def alive(self) -> bool:
        """Whether workers can be had: what they are forked from is there."""
        return self._forks.alive

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return self._forks.children

    @property
    def free(self) -> float:
        """Share of the arena that no worker's frames have, 0..1."""
        return 1 - self._arena.in_use / self._arena.nbytes

    async def start(self) -> None:
        """Warm up what workers are forked from (in the background)."""
        await self._forks.start()

    async def close(self) -> None:
        """End what workers are forked from; sessions end with their own contexts, before."""
        await self._forks.close()

    @asynccontextmanager
    async def open(self, source: MediaBytes, request: DecodeRequest) -> AsyncIterator[DecodeSession]:
        """See ``Decoder.open``."""
        session = ProcessDecodeSession(
            self._start_worker, self._gpu_session, self._arena, source, request, self._crashed, self._telemetry
        )
        try:
            async with self._allocating:
                await session.prepare(f"decode-{next(self._numbers)}")
            yield session
        finally:
            await session.close()

    def _crashed(self) -> None:
        self.crashes += 1

    async def _gpu_session(self, request: DecodeRequest, extents: Sequence[Sequence[int]]) -> GpuSession | None:
        if self._gpu is None:
            return None
        try:
            return await self._gpu.session(request.taps, extents, request.limits.max_pixels, self._threads)
        except GpuUnavailable as error:
            log.warning("decoder.on_cpu", cause=str(error))
            return None


class ProcessDecodeSession:
    """A ``DecodeSession`` over worker processes. Made by ``ProcessDecoder.open``."""

    def __init__(
        self,
        start_worker: Callable[[], Awaitable[Worker]],
        gpu_session: Callable[[DecodeRequest, Sequence[Sequence[int]]], Awaitable[GpuSession | None]],
        arena: Arena,
        source: MediaBytes,
        request: DecodeRequest,
        crashed: Callable[[], None],
        telemetry: Telemetry,
    ) -> None:
        self._telemetry = telemetry
        self._start_worker, self._arena, self._source, self._request = start_worker, arena, source, request
        self._start_gpu_session, self._crashed = gpu_session, crashed
        self._gpu: GpuSession | None = None
        self._slots: TapSlots | None = None
        self._state: SessionState | None = None
        self._worker: Worker | None = None
        self._needed: int | None = None  # byte that the worker waits for
        self._starved_since: float | None = None
        self._starved_before = 0.0  # seconds
        self._hurried = 0

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker at work, for operators and tests."""
        return self._worker.process.pid if self._worker else None

    async def prepare(self, owner: str) -> None:
        """Allocate the slots."""
        self._slots = await TapSlots.allocate(self._arena, self._request.taps, owner, self._grant)
        self._state = SessionState(self._request.taps, self._slots, self._request.start)

    async def close(self) -> None:
        """End the worker, give the slots back."""
        worker = self._dismiss()
        try:
            if worker is not None:
                await worker.stop()
            await self._leave_gpu()
        finally:
            if self._slots is not None:
                self._slots.close()

    def hurry(self, through: int) -> None:
        """See ``DecodeSession.hurry``."""
        if through > self._hurried:
            self._hurried = through
            if self._worker is not None:
                self._worker.send(encode("hurry", through=through))

    def ledger(self) -> Ledger:
        """See ``DecodeSession.ledger``."""
        return self._state.ledger if self._state else Ledger()

    def mark(self) -> LedgerMark:
        """See ``DecodeSession.mark``."""
        return self._state.mark if self._state else LedgerMark()

    @property
    def starved(self) -> bool:
        """See ``DecodeSession.starved``."""
        return self._needed is not None and not self._source.complete and self._source.committed < self._needed

    @property
    def starved_seconds(self) -> float:
        """See ``DecodeSession.starved_seconds``."""
        since = self._starved_since
        return self._starved_before + (0.0 if since is None else time.monotonic() - since)

    async def events(self) -> AsyncIterator[DecodeEvent]:
        """See ``DecodeSession.events``."""
        state = self._state
        assert state is not None, "a session is opened by its decoder"
        died_at, patience = state.progress, float(PATIENCE)
        while True:
            try:
                worker = await self._employ(state)
                while True:
                    message = await self._receive(worker)
                    for event in self._events_of(state, message):
                        yield event
                        if isinstance(event, DecodeFinished):
                            return
            except (WorkerDied, ProtocolError) as death:
                await self._bury(death)
                if died_at != state.progress:
                    died_at, patience = state.progress, float(PATIENCE)
                patience -= HANG if isinstance(death, WorkerHung) else LOSS if isinstance(death, WorkerLost) else 1
                if patience <= 0:
                    break
        if not state.partly_known:
            raise DecoderCrashed("the decode worker died again and again on this media")
        for event in state.give_up(DecoderCrashed.reason):
            yield event

    async def _employ(self, state: SessionState) -> Worker:
        """A worker that goes on where the state is."""
        slots = self._slots
        assert slots is not None
        worker = self._worker = await self._start_worker()
        self._telemetry.decoding(+1)
        gpu = self._gpu = await self._start_gpu_session(self._request, slots.offsets)
        slots.on_gpu = gpu is not None
        there = gpu.descriptors if gpu is not None else []
        job = Job(self._request.taps, self._request.limits, slots.offsets, slots.free, state.resume)
        worker.send_job(encode_job(job), [self._source.fileno(), self._source.control_fd, self._arena.fd, *there])
        if gpu is not None:
            gpu.handed_over()
        self._fed()
        if self._hurried:
            worker.send(encode("hurry", through=self._hurried))
        return worker

    def _dismiss(self) -> Worker | None:
        """The worker, which is at work no more."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._telemetry.decoding(-1)
        return worker

    async def _bury(self, death: Exception) -> None:
        self._telemetry.decoder_crashed()
        worker = self._dismiss()
        if worker is not None:
            await worker.stop()
            await self._leave_gpu()
            if worker.process.returncode == -signal.SIGXCPU:
                raise DecodeBudget(_REFUSALS[DecodeBudget.reason][1]) from death
        self._crashed()
        log.warning("decoder.died", cause=str(death), status=worker.process.returncode if worker else None)

    async def _leave_gpu(self) -> None:
        gpu, self._gpu = self._gpu, None
        if gpu is not None:
            await gpu.end()

    async def _receive(self, worker: Worker) -> Message:
        """The next message. A worker that is silent although it could work counts as dead."""
        quiet_since = time.monotonic()
        while True:
            message = await worker.receive(min(1.0, self._request.limits.max_stall_seconds))
            if message is not None:
                return message
            if self._waits_for_us():
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= self._request.limits.max_stall_seconds:
                worker.kill()
                raise WorkerHung(None)

    def _waits_for_us(self) -> bool:
        """Whether the worker rightly waits: for bytes that have not come, or for a slot."""
        assert self._slots is not None
        return self.starved or self._slots.exhausted

    def _events_of(self, state: SessionState, message: Message) -> list[DecodeEvent]:
        if message.kind == "starved":
            self._needed = message.integer("needed", 0)
            self._starved_since = self._starved_since or time.monotonic()
        elif message.kind == "fed":
            self._fed()
        elif message.kind == "broken":
            raise WorkerDied(None, f"{message.word('error')} at {message.word('where')}")
        elif message.kind == "lost":
            raise WorkerLost(None, "the GPU process died")
        elif message.kind == "failed":
            error, text = _REFUSALS.get(message.word("reason"), (InternalError, "the decoder failed"))
            raise error(text)
        elif message.kind != "alive":
            return list(state.accept(message))
        return []

    def _fed(self) -> None:
        """The worker has the bytes that it wants."""
        self._starved_before, self._starved_since, self._needed = self.starved_seconds, None, None

    def _grant(self, tap: int, slot: int) -> None:
        if self._worker is not None:
            self._worker.send(encode("grant", tap=tap, slot=slot))

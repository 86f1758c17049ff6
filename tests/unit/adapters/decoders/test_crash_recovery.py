"""A session outlives its workers: kill them at any instant, and the rows, pixels and ledger stay the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from orchestrator.adapters.decoders import process
from orchestrator.adapters.decoders.process import PATIENCE, ProcessDecoder, ProcessDecodeSession
from orchestrator.adapters.decoders.workers import Worker
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.frames import FrameBatch, Tap, View
from orchestrator.core.media import DecodeLimits, Ledger, LedgerMark
from orchestrator.core.sampling import EVERY_FRAME, Sampling
from orchestrator.errors import AnalysisCancelled, DecoderCrashed
from orchestrator.ports import DecodeEvent, DecodeFinished, DecodeRequest, DecodeSession, DecodeStart, MediaOpened
from tests.support.spool import Spool
from tests.unit.adapters.decoders.clips import Clip, x264
from tests.unit.adapters.decoders.run import Collected, collect

TAPS = (
    Tap(View(48, 36), EVERY_FRAME, 5),
    Tap(View(128, 96), Sampling(Fraction(6)), 4, reuse=True),
)
CLIP = Clip("open.mp4", frames=300, options=x264("open-gop=1:keyint=20:min-keyint=20:bframes=3"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CLIP.write(tmp_path_factory.mktemp("crash"))


@pytest.fixture
async def decoder() -> AsyncIterator[ProcessDecoder]:
    with Arena(32 << 20) as arena:
        decoder = ProcessDecoder(arena, threads=2)
        yield decoder
        await decoder.close()
        assert arena.in_use == 0


def kill(session: DecodeSession) -> None:
    assert isinstance(session, ProcessDecodeSession)
    if session.worker_pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(session.worker_pid, signal.SIGKILL)


def content(path: Path) -> bytes:
    return path.read_bytes()


async def run(decoder: ProcessDecoder, clip: Path, *kill_after: int) -> Collected:
    """Decode, killing the worker after each of these numbers of events."""
    events = 0

    async def seen(session: DecodeSession, event: DecodeEvent) -> None:
        nonlocal events
        events += 1
        if events in kill_after:
            kill(session)

    with PathSource(clip, [clip.parent]) as source:
        return await collect(decoder, source, *TAPS, seen=seen)


async def test_kills_change_nothing(decoder: ProcessDecoder, clip: Path) -> None:
    calm = await run(decoder, clip)
    assert calm.finished is not None
    assert calm.finished.ledger.redecoded == 0
    redecoded = 0
    for kills in ((1,), (2,), (9,), (40,), (70,), (3, 15, 30, 31, 60)):
        rough = await run(decoder, clip, *kills)
        rough.same_as(calm)
        assert rough.media == calm.media
        assert rough.through == calm.through
        assert rough.finished is not None
        redecoded += rough.finished.ledger.redecoded
        ledger = replace(rough.finished.ledger, redecoded=0)
        assert replace(rough.finished, ledger=ledger) == calm.finished, kills
    assert redecoded > 0, "the kills came in the middle of the work"


async def test_kills_change_nothing_in_a_session_that_began_later(decoder: ProcessDecoder, clip: Path) -> None:
    marks: list[LedgerMark] = []

    async def mark(session: DecodeSession, event: DecodeEvent) -> None:
        marks.append(session.mark())

    with PathSource(clip, [clip.parent]) as source:
        calm = await collect(decoder, source, *TAPS, seen=mark)
        start = DecodeStart((100, 130), marks[-2])
        for kill_after in (1, 3, 9):
            events = 0

            async def seen(session: DecodeSession, event: DecodeEvent, after: int = kill_after) -> None:
                nonlocal events
                events += 1
                if events == after:
                    kill(session)

            rough = await collect(decoder, source, *TAPS, start=start, seen=seen)
            rough.is_the_rest_of(calm, start.first)


async def test_deaths_in_a_later_session_leave_what_was_decided_before(
    decoder: ProcessDecoder, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame that an earlier session has counted is taken for lost, and nothing is made up where the timeline is not known."""
    monkeypatch.setattr(Worker, "send_job", lambda worker, data, descriptors: worker.kill())
    start = DecodeStart((100, 130), LedgerMark(140, Ledger(expected=140, decoded=140)))
    with PathSource(clip, [clip.parent]) as source, pytest.raises(DecoderCrashed):
        await collect(decoder, source, *TAPS, start=start)


async def test_a_kill_during_an_upload(decoder: ProcessDecoder, clip: Path, tmp_path: Path) -> None:
    fragmented = replace(CLIP, name="live.mp4", muxer={"movflags": "frag_keyframe+empty_moov"}).write(tmp_path)
    with PathSource(fragmented, [tmp_path]) as source:
        calm = await collect(decoder, source, *TAPS)
    data = fragmented.read_bytes()
    with Spool(tmp_path) as spool:

        async def upload(session_killed: asyncio.Event) -> None:
            spool.append(data[: len(data) * 2 // 3])
            await session_killed.wait()
            await asyncio.sleep(0.5)
            spool.append(data[len(data) * 2 // 3 :])
            spool.finish()

        killed = asyncio.Event()
        sending = asyncio.create_task(upload(killed))

        async def seen(session: DecodeSession, event: DecodeEvent) -> None:
            if isinstance(event, FrameBatch) and event.rows[-1].index > 60 and not killed.is_set():
                killed.set()
                kill(session)

        rough = await collect(decoder, spool, *TAPS, seen=seen)
        await sending
    rough.same_as(calm)


async def test_deaths_at_one_place_end_the_media_partially(decoder: ProcessDecoder, clip: Path) -> None:
    got: list[DecodeEvent] = []
    delivered = 0

    async def seen(session: DecodeSession, event: DecodeEvent) -> None:
        nonlocal delivered
        got.append(event)
        delivered += isinstance(event, FrameBatch)
        if delivered >= 4:
            kill(session)
            await asyncio.sleep(0.05)

    async def poisonous(session: ProcessDecodeSession) -> None:
        while True:  # every later worker dies before it can say anything
            await asyncio.sleep(0.001)
            if delivered >= 4:
                kill(session)

    with PathSource(clip, [clip.parent]) as source, contextlib.suppress(asyncio.CancelledError):
        async with decoder.open(source, DecodeRequest(TAPS)) as session:
            assert isinstance(session, ProcessDecodeSession)
            killer = asyncio.create_task(poisonous(session))
            async for event in session.events():
                await seen(session, event)
                if isinstance(event, FrameBatch) and event.slot is not None:
                    event.slot.release()
            killer.cancel()
    last = got[-1]
    assert isinstance(last, DecodeFinished)
    assert last.partial
    assert last.fault == "DECODER_CRASHED"
    ledger = last.ledger
    assert ledger.dropped > 0
    assert ledger.expected == ledger.decoded + ledger.corrupt + ledger.dropped
    assert ledger.source == ledger.expected + ledger.skipped


async def test_deaths_before_the_first_frame_raise(
    decoder: ProcessDecoder, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []

    def poison(worker: Worker, data: bytes, descriptors: list[int]) -> None:
        killed.append(worker.process.pid)
        worker.kill()

    monkeypatch.setattr(Worker, "send_job", poison)
    with PathSource(clip, [clip.parent]) as source, pytest.raises(DecoderCrashed):
        await collect(decoder, source, *TAPS)
    assert len(set(killed)) == PATIENCE


async def test_two_deaths_at_one_place_are_survived(
    decoder: ProcessDecoder, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = await run(decoder, clip)
    killed: list[int] = []
    send_job = Worker.send_job

    def poison(worker: Worker, data: bytes, descriptors: list[int]) -> None:
        if len(killed) < PATIENCE - 1:
            killed.append(worker.process.pid)
            worker.kill()
        else:
            send_job(worker, data, descriptors)

    monkeypatch.setattr(Worker, "send_job", poison)
    rough = await run(decoder, clip)
    rough.same_as(calm)
    assert len(set(killed)) == PATIENCE - 1


async def test_a_worker_that_hangs_is_replaced(decoder: ProcessDecoder, clip: Path) -> None:
    stopped: list[int] = []

    async def seen(session: DecodeSession, event: DecodeEvent) -> None:
        assert isinstance(session, ProcessDecodeSession)
        if isinstance(event, FrameBatch) and not stopped and session.worker_pid is not None:
            stopped.append(session.worker_pid)
            os.kill(session.worker_pid, signal.SIGSTOP)

    with PathSource(clip, [clip.parent]) as source:
        calm = await collect(decoder, source, *TAPS)
        rough = await collect(decoder, source, *TAPS, seen=seen, limits=DecodeLimits(max_stall_seconds=1.0))
    rough.same_as(calm)
    with pytest.raises(ProcessLookupError):
        os.kill(stopped[0], 0)


async def test_a_waiting_upload_is_no_hang(decoder: ProcessDecoder, clip: Path, tmp_path: Path) -> None:
    data = content(clip)
    with Spool(tmp_path) as spool:
        spool.append(data[:500])
        running = asyncio.create_task(collect(decoder, spool, *TAPS, limits=DecodeLimits(max_stall_seconds=0.5)))
        await asyncio.sleep(2.5)
        assert not running.done()
        spool.append(data[500:])
        spool.finish()
        assert (await running).finished is not None


@pytest.mark.parametrize("part", [0.01, 0.7])
async def test_an_upload_that_is_given_up_ends_the_session(
    decoder: ProcessDecoder, clip: Path, tmp_path: Path, part: float
) -> None:
    data = content(clip)
    with Spool(tmp_path) as spool:
        spool.append(data[: int(len(data) * part)])
        running = asyncio.create_task(collect(decoder, spool, *TAPS))
        await asyncio.sleep(1.0)
        spool.abort()
        with pytest.raises(AnalysisCancelled):
            await running


async def test_cancelling_leaves_nothing(decoder: ProcessDecoder, clip: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    pids: list[int] = []
    opened = asyncio.Event()

    async def work() -> None:
        with PathSource(clip, [clip.parent]) as source:
            async with decoder.open(source, DecodeRequest(TAPS)) as session:
                async for event in session.events():  # holds every slot, so it never ends by itself
                    if isinstance(event, MediaOpened):
                        assert isinstance(session, ProcessDecodeSession)
                        assert session.worker_pid is not None
                        pids.append(session.worker_pid)
                        opened.set()

    task = asyncio.create_task(work())
    await opened.wait()
    await asyncio.sleep(0.3)
    task.cancel()
    began = asyncio.get_running_loop().time()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() - began < 1.0
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    await decoder.close()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # listdir's own


def test_every_reason_that_a_worker_may_name_has_words_of_ours() -> None:
    assert set(process._REFUSALS) == {
        *("MEDIA_UNREADABLE", "MEDIA_TOO_LARGE", "NO_VIDEO_STREAM", "UNSUPPORTED_FORMAT", "UNSUPPORTED_CODEC"),
        *("ENCRYPTED", "DECODE_BUDGET", "CANCELLED"),
    }

"""The ``Decoder`` port: whatever decodes, frames, numbers, times and pixels are those of decoding everything naively."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.frames import Fit, FrameBatch, Tap, View
from orchestrator.core.media import DecodeLimits, MediaInfo
from orchestrator.core.sampling import EVERY_FRAME, Sampling
from orchestrator.errors import (
    DecodeBudget,
    MediaTooLarge,
    MediaUnreadable,
    NoVideoStream,
    ReelsiftError,
    UnsupportedCodec,
    UnsupportedFormat,
)
from orchestrator.ports import DecodeEvent, DecodeRequest, DecodeSession
from tests.support.spool import Spool
from tests.unit.adapters.decoders.clips import CLIPS, Clip, still, taken, truth
from tests.unit.adapters.decoders.run import Collected, collect

ALL = Tap(View(32, 24), EVERY_FRAME, 8)
FIVE = Tap(View(40, 40, Fit.LETTERBOX), Sampling(Fraction(5)), 4)
TWO = Tap(View(160, 100), Sampling(Fraction(2)), 3)
TAPS = (ALL, FIVE, TWO)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture
async def arena() -> AsyncIterator[Arena]:
    with Arena(64 << 20) as arena:
        yield arena
        assert arena.in_use == 0, "every slot came home"


@pytest.fixture
async def decoder(arena: Arena) -> AsyncIterator[ProcessDecoder]:
    decoder = ProcessDecoder(arena, threads=2)
    yield decoder
    await decoder.close()


def check(out: Collected, path: Path, taps: tuple[Tap, ...]) -> None:
    """``out`` is exactly what naive decoding gives."""
    assert out.media is not None
    assert out.finished is not None
    for tap in taps:
        real = truth(path, tap.view)
        assert out.pts == real.pts
        wanted = taken(real.pts, tap.sampling, real.time_base)
        assert [(index, pts) for index, pts, _, _ in out.rows[tap]] == [(index, real.pts[index]) for index in wanted]
        for index, _, pixels, same_as in out.rows[tap]:
            assert same_as is None
            assert pixels is not None
            assert np.array_equal(pixels, real.pictures[index]), f"pixels of frame {index} in {tap}"
        assert out.through[tap] == len(real.pts)
    ledger = out.finished.ledger
    assert ledger.source == len(out.pts)
    assert ledger.expected == ledger.decoded == len({row[0] for tap in taps for row in out.rows[tap]})
    assert ledger.skipped == ledger.source - ledger.expected
    assert (ledger.corrupt, ledger.dropped, ledger.redecoded) == (0, 0, 0)
    assert not out.finished.partial
    assert out.finished.first_bad_pts is None
    assert out.finished.end_pts > out.pts[-1]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
@pytest.mark.parametrize("taps", [TAPS, (FIVE, TWO)], ids=["every", "sparse"])
async def test_exact(decoder: ProcessDecoder, clips: Path, clip: Clip, taps: tuple[Tap, ...]) -> None:
    path = clip.write(clips)
    with PathSource(path, [clips]) as source:
        out = await collect(decoder, source, *taps)
    check(out, path, taps)


@pytest.mark.parametrize(
    "name", ["pyramid.mp4", "opengop.ts", "hevc-opengop.mkv", "fragmented.mp4", "vp9.webm", "mpeg2.mpg", "mjpeg.avi"]
)
async def test_keyframes_alone(decoder: ProcessDecoder, clips: Path, name: str) -> None:
    """Those that the container names, exactly; of the rest nothing is decoded. At a rate, those that answer its ticks."""
    path = clip_named(name).write(clips)
    every = Tap(View(32, 24), Sampling(keyframes=True), 8)
    slow = Tap(View(40, 40), Sampling(Fraction(1), keyframes=True), 4)
    with av.open(str(path)) as media:
        keys = sorted(packet.pts for packet in media.demux(video=0) if packet.is_keyframe and packet.size)
    with PathSource(path, [clips]) as source:
        out = await collect(decoder, source, every, slow)
    real = truth(path, every.view)
    assert out.pts == real.pts
    assert [pts for _, pts, _, _ in out.rows[every]] == keys
    for index, pts, pixels, _ in out.rows[every]:
        assert real.pts[index] == pts
        assert np.array_equal(pixels, real.pictures[index])  # type: ignore[arg-type]
    before = [None, *keys[:-1]]
    ticked = [
        pts
        for pts, last in zip(keys, before, strict=True)
        if slow.sampling.takes(pts, last, real.pts[0], real.time_base)
    ]
    assert [pts for _, pts, _, _ in out.rows[slow]] == ticked
    assert out.finished is not None
    ledger = out.finished.ledger
    assert (ledger.source, ledger.expected, ledger.decoded) == (len(real.pts), len(keys), len(keys))
    assert ledger.skipped == len(real.pts) - len(keys)
    assert not out.finished.partial


async def test_facts_of_the_media(decoder: ProcessDecoder, clips: Path) -> None:
    path = clip_named("tenbit.mp4").write(clips)
    with PathSource(path, [clips]) as source:
        out = await collect(decoder, source, TWO)
    assert out.media == MediaInfo(
        "mov", "h264", 128, 96, 0, Fraction(1, 12800), 0, 2_400_000_000, Fraction(25), bit_depth=10
    )


@pytest.mark.parametrize("turn", [90, 180, 270])
async def test_rotation_is_applied(decoder: ProcessDecoder, clips: Path, turn: int) -> None:
    data = bytearray(clip_named("faststart.mp4").write(clips).read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the matrix of the video track
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn]
    struct.pack_into(">5i", data, at, cosine << 16, sine << 16, 0, -sine << 16, cosine << 16)
    path = clips / f"turned{turn}.mp4"
    path.write_bytes(data)
    tap = Tap(View(48, 48, Fit.LETTERBOX), Sampling(Fraction(2)), 4)
    with PathSource(path, [clips]) as source:
        out = await collect(decoder, source, tap)
    assert out.media is not None
    assert (out.media.width, out.media.height, out.media.rotation) == ((96, 128) if turn != 180 else (128, 96)) + (
        turn,
    )
    upright = truth(clip_named("faststart.mp4").write(clips), View(48, 36))
    for index, _, pixels, _ in out.rows[tap]:
        shown = np.rot90(upright.pictures[index], -(turn // 90))
        height, width = shown.shape[:2]
        assert pixels is not None
        assert np.array_equal(pixels[:height, :width], shown)
        assert not pixels[height:].any()
        assert not pixels[:, width:].any()


@pytest.mark.parametrize("name", ["faststart.mp4", "fragmented.mp4", "vfr.mkv", "opengop.ts", "vp9.webm"])
async def test_decodes_while_it_grows(decoder: ProcessDecoder, clips: Path, name: str) -> None:
    path = clip_named(name).write(clips)
    data = path.read_bytes()
    first = asyncio.Event()

    with Spool(clips) as spool:

        async def upload() -> None:
            for at in range(0, len(data), 4000):
                if at > len(data) * 0.7:  # the first batch comes before the upload ends
                    async with asyncio.timeout(20):
                        await first.wait()
                spool.append(data[at : at + 4000])
                await asyncio.sleep(0.03)
            await asyncio.sleep(0.5)
            spool.finish()

        async def seen(session: DecodeSession, event: DecodeEvent) -> None:
            if isinstance(event, FrameBatch):
                first.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(upload())
            out = await collect(decoder, spool, *TAPS, seen=seen)
    check(out, path, TAPS)


async def test_a_tail_moov_waits_for_its_end(decoder: ProcessDecoder, clips: Path) -> None:
    path = clip_named("pyramid.mp4").write(clips)
    data = path.read_bytes()
    with Spool(clips) as spool:
        spool.append(data[:-1])
        running = asyncio.create_task(collect(decoder, spool, *TAPS))
        await asyncio.sleep(1.0)
        assert not running.done()
        spool.append(data[-1:])
        spool.finish()
        check(await running, path, TAPS)


async def test_hurry_delivers_part_filled_batches_while_bytes_are_missing(decoder: ProcessDecoder, clips: Path) -> None:
    path = clip_named("faststart.mp4").write(clips)
    data = path.read_bytes()
    got: list[int] = []
    with Spool(clips) as spool:
        spool.append(data[: len(data) // 2])

        async def seen(session: DecodeSession, event: DecodeEvent) -> None:
            if isinstance(event, FrameBatch) and event.tap is ALL:
                got.append(event.rows[-1].index)
                if len(got) == 1:
                    session.hurry(10_000)

        running = asyncio.create_task(collect(decoder, spool, ALL, seen=seen))
        await asyncio.sleep(2.0)
        before = got[-1]
        assert (before + 1) % ALL.batch, "a part-filled batch came, though most of the clip is missing"
        spool.append(data[len(data) // 2 :])
        spool.finish()
        out = await running
    check(out, path, (ALL,))
    assert [size for size in out.batches if size != ALL.batch][:1] == [(before + 1) % ALL.batch]


async def test_a_receiver_that_holds_slots_stops_the_decoder(
    decoder: ProcessDecoder, arena: Arena, clips: Path
) -> None:
    path = clip_named("long.mp4").write(clips)
    tap = Tap(View(512, 512), EVERY_FRAME, 8)  # 6 MiB a slot: two of them
    with PathSource(path, [clips]) as source:
        async with decoder.open(source, DecodeRequest((tap,))) as session:
            held: list[FrameBatch] = []
            events = session.events()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    async for event in events:
                        if isinstance(event, FrameBatch):
                            held.append(event)
            assert len(held) == 2
            assert arena.slots_in_use == 2


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MediaUnreadable),
        (b"\0" * 5000, MediaUnreadable),
        (np.random.default_rng(1).bytes(20_000), MediaUnreadable),
        (b"just some words\n" * 100, UnsupportedFormat),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", UnsupportedFormat),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", UnsupportedFormat),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9999 RTP/AVP 96\n", UnsupportedFormat),
        (b"\x89PNG\r\n\x1a\n" + bytes(3000), UnsupportedFormat),
        (b"ID3\x04" + bytes(3000), NoVideoStream),
        (b"\0\0\0\x18ftypmp42" + bytes(3000), MediaUnreadable),
    ],
)
async def test_refuses_what_is_no_video(
    decoder: ProcessDecoder, tmp_path: Path, body: bytes, error: type[ReelsiftError]
) -> None:
    with Spool(tmp_path) as spool:
        spool.append(body)
        spool.finish()
        with pytest.raises(error):
            await collect(decoder, spool, TWO)


async def test_audio_alone_is_refused(decoder: ProcessDecoder, tmp_path: Path) -> None:
    path = tmp_path / "tone.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000, layout="mono")
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.pts, frame.sample_rate = number * 1024, 48000
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with PathSource(path, [tmp_path]) as source, pytest.raises(NoVideoStream):
        await collect(decoder, source, TWO)


async def test_a_codec_outside_the_list_is_refused(decoder: ProcessDecoder, tmp_path: Path) -> None:
    path = Clip("lossless.mkv", "ffv1", frames=3).write(tmp_path)
    with PathSource(path, [tmp_path]) as source, pytest.raises(UnsupportedCodec):
        await collect(decoder, source, TWO)


async def test_a_frame_above_the_limit_is_refused(decoder: ProcessDecoder, clips: Path) -> None:
    path = clip_named("plain.mp4").write(clips)
    with PathSource(path, [clips]) as source, pytest.raises(MediaTooLarge):
        await collect(decoder, source, TWO, limits=DecodeLimits(max_pixels=128 * 96 - 1))


async def test_the_decode_budget_holds(decoder: ProcessDecoder, clips: Path) -> None:
    path = clip_named("long.mp4").write(clips)
    limits = DecodeLimits(max_decode_seconds=0.001)  # the whole clip takes about 50 ms
    with PathSource(path, [clips]) as source, pytest.raises(DecodeBudget):
        await collect(decoder, source, TWO, limits=limits)


@pytest.mark.parametrize("name", ["faststart.mp4", "vfr.mkv", "opengop.ts", "fragmented.mp4", "mpeg4.avi"])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
async def test_truncated_media_give_what_they_hold(
    decoder: ProcessDecoder, clips: Path, tmp_path: Path, name: str, part: float
) -> None:
    whole = clip_named(name).write(clips)
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
    real, full = truth(path, ALL.view), truth(whole, ALL.view)
    with PathSource(path, [tmp_path]) as source:
        out = await collect(decoder, source, ALL)
    assert out.finished is not None
    assert set(real.pts) <= set(out.pts) < set(full.pts)
    good = dict(zip(full.pts, full.pictures, strict=True))
    same = sum(np.array_equal(good[pts], pixels) for _, pts, pixels, _ in out.rows[ALL] if pixels is not None)
    assert len(out.pts) - 4 <= same, "all but the frames at the break are whole"
    ledger = out.finished.ledger
    assert ledger.expected == ledger.decoded + ledger.corrupt + ledger.dropped
    if not name.endswith(".ts"):  # a transport stream does not say where it should end
        assert out.finished.partial
        assert out.finished.fault == "MEDIA_UNREADABLE"
        assert out.finished.first_bad_pts is not None
    if name == "faststart.mp4":
        assert (ledger.source, ledger.expected) == (80, 80)


async def test_a_damaged_middle_is_counted(decoder: ProcessDecoder, clips: Path) -> None:
    path = clip_named("faststart.mp4").write(clips)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 3000] = bytes(3000)
    with Spool(clips) as spool:
        spool.append(bytes(data))
        spool.finish()
        out = await collect(decoder, spool, ALL)
    assert out.finished is not None
    ledger = out.finished.ledger
    assert out.finished.partial
    assert ledger.corrupt > 0
    assert ledger.decoded + ledger.corrupt == ledger.expected == ledger.source == 80
    assert out.through[ALL] == 80
    missing = sorted(set(range(80)) - {row[0] for row in out.rows[ALL]})
    assert out.finished.first_bad_pts == out.pts[missing[0]]


async def test_tail_garbage_is_ignored(decoder: ProcessDecoder, clips: Path) -> None:
    for name in ("faststart.mp4", "pyramid.mp4", "vfr.mkv", "mpeg4.avi"):
        path = clip_named(name).write(clips)
        with Spool(clips) as spool:
            spool.append(path.read_bytes() + np.random.default_rng(7).bytes(5000))
            spool.finish()
            check(await collect(decoder, spool, *TAPS), path, TAPS)


async def test_near_duplicates_share_a_row(decoder: ProcessDecoder, tmp_path: Path) -> None:
    path = still(tmp_path)
    tap = Tap(View(128, 96), EVERY_FRAME, 4, reuse=True)
    with PathSource(path, [tmp_path]) as source:
        result = await collect(decoder, source, tap)
    shown = [index for index, _, pixels, _ in result.rows[tap] if pixels is not None]
    assert shown == [0, 20, 26, 34, 40]
    assert all(same_as == max(i for i in shown if i < index) for index, _, p, same_as in result.rows[tap] if p is None)
    assert result.finished is not None
    assert result.finished.ledger.reused == 55


def clip_named(name: str) -> Clip:
    return next(clip for clip in CLIPS if clip.name == name)

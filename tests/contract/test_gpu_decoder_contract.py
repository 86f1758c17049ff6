"""The ``Decoder`` port where a GPU process decodes: frames, numbers and times are those of decoding everything naively, pixels nearly.

Here libav stands in for NVDEC inside that process, and the CPU for the GPU; all the rest is what runs on one. On a GPU the same
tests run with its own decoder (``-m gpu``).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu.process import GpuProcess
from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.frames import Fit, Tap, View
from orchestrator.core.sampling import EVERY_FRAME, Sampling
from orchestrator.ports import DecodeEvent, DecodeSession, MediaOpened
from tests.support.gpu import Faults, HostMemory, command
from tests.unit.adapters.decoders.clips import CLIPS, Clip, still, taken, truth
from tests.unit.adapters.decoders.run import Collected, collect

ALL = Tap(View(32, 24), EVERY_FRAME, 8, host=True)
FIVE = Tap(View(40, 40, Fit.LETTERBOX), Sampling(Fraction(5)), 4, host=True)
TWO = Tap(View(160, 100), Sampling(Fraction(2)), 3, host=True)
TAPS = (ALL, FIVE, TWO)
GREY = np.array([0.299, 0.587, 0.114])
ON_GPU = {
    "plain.mp4",
    "pyramid.mp4",
    "opengop.mp4",
    "opengop.ts",
    "hevc.mp4",
    "hevc-opengop.mkv",
    "fragmented.mp4",
    "faststart.mp4",
}
ON_GPU |= {"tenbit.mp4", "vfr.mkv", "mpeg2.ts", "mpeg2.mpg", "vp8.webm", "vp9.webm", "av1.mp4", "long.mp4", "one.mp4"}


@asynccontextmanager
async def decoding(faults: Faults | None = None) -> AsyncIterator[tuple[ProcessDecoder, GpuProcess]]:
    with Arena(64 << 20, HostMemory()) as arena:
        gpu = GpuProcess(arena, command(faults))
        decoder = ProcessDecoder(arena, threads=2, gpu=gpu)
        try:
            yield decoder, gpu
        finally:
            await decoder.close()
            await gpu.close()
        assert arena.in_use == 0, "every slot came home"


class Watched:
    """What decoded, and something to do at an event."""

    def __init__(self, act: Callable[[int], None] = lambda number: None) -> None:
        self.decoder = ""
        self._act, self._number = act, 0

    async def __call__(self, _: DecodeSession, event: DecodeEvent) -> None:
        if isinstance(event, MediaOpened):
            self.decoder = event.decoder
        self._number += 1
        self._act(self._number)


async def run(decoder: ProcessDecoder, path: Path, *taps: Tap, watched: Watched | None = None) -> Collected:
    with PathSource(path, [path.parent]) as source:
        return await collect(decoder, source, *taps, seen=watched or Watched())


def check(out: Collected, path: Path, taps: tuple[Tap, ...], redecoded: bool = False) -> None:
    """``out`` is what naive decoding gives, in other pixels."""
    assert out.finished is not None
    for tap in taps:
        real = truth(path, tap.view)
        assert out.pts == real.pts
        wanted = taken(real.pts, tap.sampling, real.time_base)
        assert [(index, pts, same) for index, pts, _, same in out.rows[tap]] == [(i, real.pts[i], None) for i in wanted]
        for index, _, pixels, _ in out.rows[tap]:
            assert pixels is not None
            difference = (pixels.astype(float) - real.pictures[index]) @ GREY
            assert np.abs(difference).mean() < 4.0, f"frame {index} in {tap}"
    ledger = out.finished.ledger
    assert ledger.source == len(out.pts)
    assert ledger.expected == ledger.decoded == len({row[0] for tap in taps for row in out.rows[tap]})
    assert (ledger.corrupt, ledger.dropped, ledger.redecoded > 0) == (0, 0, redecoded)
    assert not out.finished.partial


async def test_every_clip(tmp_path: Path) -> None:
    async with decoding() as (decoder, gpu):
        for clip in CLIPS:
            for taps in (TAPS, (FIVE, TWO)):
                watched = Watched()
                path = clip.write(tmp_path)
                out = await run(decoder, path, *taps, watched=watched)
                check(out, path, taps)
                assert watched.decoder == ("nvdec" if clip.name in ON_GPU else "cpu"), clip.name
        assert gpu.pid is not None
        assert descriptors(gpu.pid) < 40, "sessions leave nothing behind"


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def clip_named(name: str) -> Clip:
    return next(clip for clip in CLIPS if clip.name == name)


@pytest.mark.parametrize(
    "faults",
    [Faults(lost=7), Faults(raised=9), Faults(damaged=11), Faults(codecs="")],
    ids=["frames left out", "decoder raises", "damage reported", "codec not decoded"],
)
async def test_what_the_gpu_spoils_is_decoded_again_on_the_cpu(tmp_path: Path, faults: Faults) -> None:
    async with decoding(faults) as (decoder, _):
        for name in ("pyramid.mp4", "opengop.ts"):
            path = clip_named(name).write(tmp_path)
            check(await run(decoder, path, *TAPS), path, TAPS, redecoded=bool(faults.codecs))


async def test_frames_that_the_cpu_decoded_again_are_its_own_to_the_pixel(tmp_path: Path) -> None:
    path = clip_named("plain.mp4").write(tmp_path)
    real = truth(path, ALL.view)
    async with decoding(Faults(codecs="")) as (decoder, _):
        out = await run(decoder, path, ALL)
    for index, _, pixels, _ in out.rows[ALL]:
        assert np.array_equal(pixels, real.pictures[index])  # type: ignore[arg-type]


async def test_the_death_of_the_gpu_process_is_survived(tmp_path: Path) -> None:
    path = clip_named("long.mp4").write(tmp_path)
    killed: list[int] = []
    async with decoding() as (decoder, gpu):

        def kill(number: int) -> None:
            if number in (5, 20) and gpu.pid:
                killed.append(gpu.pid)
                os.kill(gpu.pid, signal.SIGKILL)

        out = await run(decoder, path, *TAPS, watched=Watched(kill))
        assert len(set(killed)) == 2
        ledger = out.finished.ledger if out.finished else None
        assert ledger is not None
        out.finished = replace(out.finished, ledger=replace(ledger, redecoded=0))  # type: ignore[type-var]
        check(out, path, TAPS)


async def test_a_gpu_process_that_keeps_dying_is_left_alone(tmp_path: Path) -> None:
    path = clip_named("plain.mp4").write(tmp_path)
    async with decoding(Faults(died=1)) as (decoder, gpu):
        watched = Watched()
        out = await run(decoder, path, *TAPS, watched=watched)
        check(out, path, TAPS)
        assert gpu.pid is None


async def test_repeats_are_told_by_thumbnails(tmp_path: Path) -> None:
    path = still(tmp_path)
    tap = Tap(View(160, 96), EVERY_FRAME, 4, reuse=True, host=True)
    async with decoding() as (decoder, _):
        there = await run(decoder, path, tap)
    with Arena(64 << 20) as arena:
        on_cpu = ProcessDecoder(arena, threads=2)
        here = await run(on_cpu, path, tap)
        await on_cpu.close()
    assert [row[3] for row in there.rows[tap]] == [row[3] for row in here.rows[tap]]
    assert any(row[3] is not None for row in there.rows[tap])


async def test_many_sessions_side_by_side(tmp_path: Path) -> None:
    paths = [clip_named(name).write(tmp_path) for name in ("plain.mp4", "hevc.mp4", "vp9.webm", "opengop.ts")] * 2
    async with decoding() as (decoder, _):
        outs = await asyncio.gather(*(run(decoder, path, *TAPS) for path in paths))
    for path, out in zip(paths, outs, strict=True):
        check(out, path, TAPS)

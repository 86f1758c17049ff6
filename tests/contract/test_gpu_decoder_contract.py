"""The ``Decoder`` port where a GPU process decodes: frames, numbers and times are those of decoding everything naively, pixels nearly.

Here libav stands in for NVDEC inside that process, and the CPU for the GPU; all the rest is what runs on one. On a GPU the same
tests run with its own decoder (``-m gpu``).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.gpu.process import GpuProcess
from orchestrator.core.frames import Tap, View
from orchestrator.core.sampling import EVERY_FRAME
from tests.support.gpu import Faults, HostMemory, command
from tests.support.gpu_decoding import ALL, FIVE, ON_GPU, TAPS, TWO, Watched, check, clip_named, run
from tests.unit.adapters.decoders.clips import CLIPS, still, truth


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

"""NVDEC through the ``Decoder`` port: frames, numbers and times are those of the CPU, pixels nearly; and it recovers."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.frames import Tap, View
from orchestrator.core.sampling import EVERY_FRAME
from tests.gpu.conftest import Decoding
from tests.support.gpu_decoding import FIVE, ON_GPU, TAPS, TWO, Watched, check, clip_named, run
from tests.unit.adapters.decoders.clips import CLIPS, Clip
from tests.unit.adapters.decoders.run import collect


def large(clip: Clip) -> Clip:
    """The clip in a size that every hardware decoder takes."""
    return replace(clip, name=f"large-{clip.name}", size=(320, 256))


@pytest.mark.parametrize("clip", [clip for clip in CLIPS if clip.name in ON_GPU], ids=lambda clip: clip.name)
async def test_it_decodes_as_the_cpu(decoding: Decoding, tmp_path: Path, clip: Clip) -> None:
    decoder, _, _ = await decoding()
    path = large(clip).write(tmp_path)
    for taps in (TAPS, (FIVE, TWO)):
        watched = Watched()
        check(await run(decoder, path, *taps, watched=watched), path, taps)
        assert watched.decoder == "nvdec"


async def test_pixels_are_those_of_the_same_arithmetic_on_the_cpu(decoding: Decoding, tmp_path: Path) -> None:
    """H.264 is decoded to the bit; half precision moves a level here and there."""
    import av
    import torch

    from orchestrator.adapters.gpu.colour import Colour
    from orchestrator.adapters.gpu.pictures import Geometry, Painter
    from tests.support.gpu import surface

    decoder, _, _ = await decoding()
    path = large(clip_named("pyramid.mp4")).write(tmp_path)
    tap = Tap(View(96, 64), EVERY_FRAME, 8, host=True)
    out = await run(decoder, path, tap)
    painter = Painter(Geometry(320, 256, 0), Colour(6, full_range=False), torch.device("cpu"))
    with av.open(str(path)) as media:
        planes = painter.planes([surface(frame) for frame in media.decode(video=0)])
    for (_, _, pixels, _), picture in zip(out.rows[tap], painter.paint(planes, tap.view).numpy(), strict=True):
        assert pixels is not None
        assert np.abs(pixels.astype(int) - picture).max() <= 1


async def test_a_poisoned_decoder_is_replaced(decoding: Decoding, tmp_path: Path) -> None:
    """Behind each broken media a whole one is decoded as if nothing had been."""
    decoder, _, _ = await decoding()
    golden = large(clip_named("opengop.mp4")).write(tmp_path)
    first = await run(decoder, golden, *TAPS)
    for name in ("plain.mp4", "opengop.ts", "hevc-opengop.mkv"):
        whole = large(clip_named(name)).write(tmp_path)
        data = bytearray(whole.read_bytes())
        for at in range(len(data) // 3, len(data) - 4096, 997):
            data[at : at + 40] = bytes(40)
        broken = tmp_path / f"broken-{name}"
        broken.write_bytes(data)
        with PathSource(broken, [tmp_path]) as source:
            out = await collect(decoder, source, *TAPS)
        assert out.finished is not None
        ledger = out.finished.ledger
        assert ledger.expected == ledger.decoded + ledger.corrupt + ledger.dropped
        (await run(decoder, golden, *TAPS)).same_as(first)


async def test_64_sessions_open_and_close_without_growth(decoding: Decoding, tmp_path: Path) -> None:
    decoder, gpu, _ = await decoding()
    path = large(clip_named("plain.mp4")).write(tmp_path)

    async def some(count: int) -> None:
        for _ in range(count // 8):
            outs = await asyncio.gather(*(run(decoder, path, FIVE) for _ in range(8)))
            for out in outs:
                check(out, path, (FIVE,))

    await some(64)
    before = used()
    await some(64)
    assert used() <= before + 32, "MiB on the GPU"
    assert gpu.pid is not None
    assert descriptors(gpu.pid) < 200


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def used() -> int:
    """MiB in use on the first GPU."""
    asked = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)

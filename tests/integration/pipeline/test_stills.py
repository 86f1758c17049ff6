"""Single frames out of a real clip, by the real decoder."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction

import numpy as np

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.sampling import Sampling
from orchestrator.pipeline.stills import Stills, stills
from tests.media import clips


async def taken(*wanted: int, width: int = 640, height: int = 480) -> Stills:
    path = clips.clip("bikes")
    with closing(Arena(32 << 20)) as arena, PathSource(path, [path.parent]) as source:
        decoder = ProcessDecoder(arena)
        try:
            return await stills(decoder, source, wanted, width, height)
        finally:
            await decoder.close()


async def test_the_frames_asked_for_are_those_of_the_clip_and_no_others() -> None:
    found = await taken(0, 77, 249)
    assert sorted(found.pictures) == [0, 77, 249]
    for index, picture in found.pictures.items():
        (truth,) = clips.pictures("bikes", index, index + 1)
        assert picture.shape == truth.shape == (272, 640, 3), "its own aspect, without the letterbox"
        assert np.abs(picture.astype(float) - truth).mean() < 3
        (other,) = clips.pictures("bikes", (index + 120) % 250, (index + 120) % 250 + 1)
        assert np.abs(picture.astype(float) - other).mean() > 20, "another frame of the clip"


async def test_the_timeline_is_whole_even_if_no_frame_is_wanted() -> None:
    found = await taken()
    assert found.pictures == {}
    assert len(found.pts) == 250
    assert found.offset_ns(25) == 1_000_000_000
    assert found.sampled(Sampling(Fraction(2)))[:4] == (0, 13, 25, 38)
    assert found.sampled(Sampling()) == tuple(range(250))

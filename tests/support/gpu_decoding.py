"""What decoding on a GPU must give, whatever stands in for it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.frames import Fit, Tap, View
from orchestrator.core.sampling import EVERY_FRAME, Sampling
from orchestrator.ports import DecodeEvent, DecodeSession, MediaOpened
from tests.unit.adapters.decoders.clips import CLIPS, Clip, taken, truth
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


def clip_named(name: str) -> Clip:
    return next(clip for clip in CLIPS if clip.name == name)

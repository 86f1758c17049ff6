"""The ``Decoder`` port: whatever decodes, frames, numbers, times and pixels are those of decoding everything naively."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.frames import Fit, Tap, View
from orchestrator.core.sampling import EVERY_FRAME, Sampling
from tests.unit.adapters.decoders.clips import CLIPS, Clip, taken, truth
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
    decoder = ProcessDecoder(arena, threads=2, spares=0)
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
@pytest.mark.parametrize("taps", [TAPS, (TWO,), (FIVE,)], ids=["every", "two", "five"])
async def test_exact(decoder: ProcessDecoder, clips: Path, clip: Clip, taps: tuple[Tap, ...]) -> None:
    path = clip.write(clips)
    with PathSource(path, [clips]) as source:
        out = await collect(decoder, source, *taps)
    check(out, path, taps)

"""The ``Decoder`` port, begun in the middle: from there on every row, pixel and number is that of a decoding from frame 0."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.frames import Fit, Tap, View
from orchestrator.core.media import LedgerMark
from orchestrator.core.sampling import EVERY_FRAME, Sampling
from orchestrator.ports import DecodeEvent, DecodeSession, DecodeStart
from tests.unit.adapters.decoders.clips import CLIPS, VARIED, picture, x264
from tests.unit.adapters.decoders.run import Collected, collect

ALL = Tap(View(32, 24), EVERY_FRAME, 8)
FIVE = Tap(View(40, 40, Fit.LETTERBOX), Sampling(Fraction(5)), 4)
EACH = Tap(View(128, 96), EVERY_FRAME, 4, reuse=True)
THREE = Tap(View(96, 72), Sampling(Fraction(3)), 2, reuse=True)
TAPS = {"every": (ALL, FIVE, THREE), "sparse": (FIVE, THREE), "reuse": (EACH, THREE)}
NAMES = ("opengop.ts", "hevc-opengop.mkv", "vfr.mkv", "mpeg4.avi")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("starts")
    for clip in CLIPS:
        if clip.name in (*NAMES, "pyramid.mp4", "long.mp4"):
            clip.write(folder)
    stills(folder / "stills.mp4", x264("open-gop=1:keyint=20:min-keyint=20:bframes=3"))
    stills(folder / "stills.mkv", x264("keyint=30:min-keyint=30:bframes=3"), VARIED)
    damaged = bytearray((folder / "pyramid.mp4").read_bytes())
    at = damaged.index(b"mdat") + (len(damaged) - damaged.index(b"mdat")) // 3
    damaged[at : at + 2500] = bytes(2500)
    (folder / "damaged.mp4").write_bytes(damaged)
    return folder


def stills(path: Path, options: dict[str, str], pts_ms: tuple[int, ...] | None = None) -> None:
    """Pictures that stand still for 7 to 33 frames, so that most repeat one, often across the start of a GOP."""
    lengths = random.Random(5)
    shown, number = [], 0
    while len(shown) < (len(pts_ms) if pts_ms else 110):
        shown += [number] * lengths.randint(7, 33)
        number += 4
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={**options, "crf": "16"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        base = stream.codec_context.time_base = Fraction(1, 1000 if pts_ms else 25)
        for at in range(len(pts_ms) if pts_ms else 110):
            frame = av.VideoFrame.from_ndarray(picture(shown[at], 128, 96), "rgb24")
            frame.pts, frame.time_base = pts_ms[at] if pts_ms else at, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.fixture
async def decoder() -> AsyncIterator[ProcessDecoder]:
    with Arena(64 << 20) as arena:
        decoder = ProcessDecoder(arena, threads=2)
        yield decoder
        await decoder.close()
        assert arena.in_use == 0, "every slot came home"


async def whole_of(decoder: ProcessDecoder, path: Path, taps: tuple[Tap, ...]) -> tuple[Collected, list[LedgerMark]]:
    """A decoding from frame 0, and its marks after each event."""
    marks: list[LedgerMark] = []

    async def seen(session: DecodeSession, event: DecodeEvent) -> None:
        marks.append(session.mark())

    with PathSource(path, [path.parent]) as source:
        out = await collect(decoder, source, *taps, seen=seen)
    for tap in taps:
        out.rows.setdefault(tap, [])
    out.rows = {tap: out.rows[tap] for tap in taps}
    return out, marks


def starts(frames: int, marks: list[LedgerMark], taps: int, dice: random.Random) -> list[DecodeStart]:
    """Marks, with frames below them, each another for each tap; and all the same at, or near, the end."""
    chosen = [dice.choice(marks) for _ in range(2)]
    out = [DecodeStart(tuple(dice.randint(0, mark.counted) for _ in range(taps)), mark) for mark in chosen]
    return [*out, DecodeStart((max(0, frames - dice.choice((0, 9))),) * taps, marks[-1])]


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        *((name, "every") for name in (*NAMES, "damaged.mp4")),
        ("long.mp4", "sparse"),
        ("stills.mkv", "reuse"),
        ("stills.mp4", "reuse"),
    ],
)
async def test_from_any_frame_on(decoder: ProcessDecoder, clips: Path, name: str, taps: str) -> None:
    wanted = TAPS[taps]
    whole, marks = await whole_of(decoder, clips / name, wanted)
    assert whole.finished is not None
    assert whole.finished.partial == (name == "damaged.mp4")
    for start in starts(len(whole.pts), marks, len(wanted), random.Random(name + taps)):
        with PathSource(clips / name, [clips]) as source:
            rest = await collect(decoder, source, *wanted, start=start)
        rest.is_the_rest_of(whole, start.first)


async def test_only_what_is_needed_is_decoded_again(decoder: ProcessDecoder, clips: Path) -> None:
    _, marks = await whole_of(decoder, clips / "pyramid.mp4", (ALL,))  # keyframes at multiples of 24
    mark = next(mark for mark in marks if mark.counted >= 80)
    with PathSource(clips / "pyramid.mp4", [clips]) as source:
        rest = await collect(decoder, source, ALL, start=DecodeStart((75,), mark))
    assert rest.finished is not None
    assert rest.finished.ledger.redecoded == mark.counted - 72


async def test_a_row_that_repeats_an_earlier_frame_brings_it_along(decoder: ProcessDecoder, clips: Path) -> None:
    whole, marks = await whole_of(decoder, clips / "stills.mkv", (EACH,))
    rows = {index: same_as for index, _, _, same_as in whole.rows[EACH]}
    begin = next(index for index, same_as in rows.items() if same_as is not None and index - same_as > 5)
    with PathSource(clips / "stills.mkv", [clips]) as source:
        rest = await collect(decoder, source, EACH, start=DecodeStart((begin,), marks[-1]))
    assert [row[0] for row in rest.rows[EACH]][:2] == [rows[begin], begin]


async def test_the_comparison_sees_a_difference(decoder: ProcessDecoder, clips: Path) -> None:
    """Negative control: the account of other frames, and a start that says nothing of them."""
    whole, marks = await whole_of(decoder, clips / "vfr.mkv", (ALL, FIVE))
    for mark in (LedgerMark(40, marks[-1].ledger), LedgerMark()):
        with PathSource(clips / "vfr.mkv", [clips]) as source:
            rest = await collect(decoder, source, ALL, FIVE, start=DecodeStart((40, 40), mark))
        with pytest.raises(AssertionError):
            rest.is_the_rest_of(whole, (40, 40))

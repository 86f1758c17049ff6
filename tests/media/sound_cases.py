"""Media that are unusual but sound: each must be analysed in full, with exact facts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from tests.media import isobmff, synth
from tests.media.case import Case, Expect, Facts, from_bytes, ok
from tests.media.encode import Encoding
from tests.media.synth import FRAMES, HEIGHT, PLAIN, WIDTH

RATE = 25
TICKS = 90_000
SEED = 7
WRAPPING = range((1 << 33) - TICKS, (1 << 33) + TICKS, TICKS // RATE)
"""MPEG-TS counts with 33 bits; here the count starts anew after one second."""


def cases() -> list[Case]:
    """Every sound case."""
    return [
        from_bytes("plain", "plain.mp4", synth.plain, _full()),
        from_bytes("tail_moov", "tail.mp4", lambda: synth.plain(moov="last"), _full()),
        from_bytes("fragmented", "fragments.mp4", lambda: synth.plain(moov="fragments"), _full()),
        from_bytes("matroska", "plain.mkv", lambda: synth.plain("matroska"), _full()),
        from_bytes("mpegts", "plain.ts", lambda: synth.plain("mpegts"), _full()),
        from_bytes("matroska_named_mp4", "matroska.mp4", lambda: synth.plain("matroska"), _full()),
        from_bytes("video_named_txt", "video.txt", synth.plain, _full()),
        from_bytes("video_without_suffix", "video", lambda: synth.plain("mpegts"), _full()),
        _encoded("matroska_live", "live.mkv", replace(PLAIN, container="matroska", container_options={"live": "1"})),
        _encoded("with_audio", "audio.mp4", replace(PLAIN, tone=True)),
        _encoded("webm_vp9", "vp9.webm", Encoding("libvpx-vp9", container="webm", tone=True), codec="vp9"),
        _encoded("webm_vp8", "vp8.webm", Encoding("libvpx", container="webm"), codec="vp8"),
        _encoded("hevc", "hevc.mp4", Encoding("libx265"), codec="hevc"),
        _encoded("mpeg4", "mpeg4.mp4", Encoding("mpeg4"), codec="mpeg4"),
        _encoded("flash", "flash.flv", Encoding("flv", container="flv"), codec="flv1"),
        _encoded("h264_10bit", "10bit.mp4", replace(PLAIN, pix_fmt="yuv420p10le"), codec="h264", bit_depth=10),
        _encoded("av1", "av1.mp4", Encoding("libsvtav1"), codec="av1"),
        _encoded(
            "pts_wrap",
            "wrap.ts",
            replace(PLAIN, container="mpegts", pts=WRAPPING, time_base=Fraction(1, TICKS)),
        ),
        _encoded(
            "hevc_10bit",
            "10bit.mkv",
            Encoding("libx265", "yuv420p10le", container="matroska"),
            codec="hevc",
            bit_depth=10,
        ),
        _encoded("one_frame", "one.mp4", PLAIN, frames=1),
        _encoded("two_frames", "two.mkv", replace(PLAIN, container="matroska"), frames=2),
        _encoded("odd_size_vp9", "odd.webm", Encoding("libvpx-vp9", container="webm"), size=(321, 241)),
        _encoded("odd_size_h264_444", "odd.mp4", replace(PLAIN, pix_fmt="yuv444p"), size=(321, 241)),
        _encoded("tiny", "tiny.mp4", PLAIN, size=(16, 16)),
        _encoded("tall", "tall.mp4", PLAIN, size=(64, 640)),
        _vfr("vfr_mp4", "vfr.mp4", "mp4", TICKS),
        _vfr("vfr_matroska", "vfr.mkv", "matroska", 1000),
        *(_rotated(degrees) for degrees in (90, 180, 270)),
        from_bytes("tail_garbage_mp4", "tail.mp4", lambda: synth.plain() + _noise(65_536), _full()),
        from_bytes("tail_garbage_matroska", "tail.mkv", lambda: synth.plain("matroska") + _noise(65_536), _full()),
        from_bytes("tail_zeros_mpegts", "tail.ts", lambda: synth.plain("mpegts") + bytes(65_536), _full()),
        from_bytes("mdat_to_the_end", "open.mp4", _open_mdat, _full()),
        from_bytes("many_free_boxes", "free.mp4", lambda: _after_ftyp(isobmff.make_box(b"free") * 5_000), _full()),
        from_bytes(
            "nested_free_boxes",
            "nested.mp4",
            lambda: _after_ftyp(isobmff.make_box(b"free", _nest(b"free"))),
            _full(),
        ),
    ]


def _regular(frames: int) -> tuple[Fraction, ...]:
    return tuple(Fraction(index, RATE) for index in range(frames))


def _full(codec: str = "h264") -> Expect:
    return ok(FRAMES, Facts(WIDTH, HEIGHT, rotation=0, corner="top-left", codec=codec, seconds=_regular(FRAMES)))


def _encoded(
    name: str,
    filename: str,
    how: Encoding,
    *,
    frames: int = FRAMES,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str | None = None,
    bit_depth: int | None = None,
) -> Case:
    facts = Facts(*size, rotation=0, corner="top-left", bit_depth=bit_depth, codec=codec, seconds=_regular(frames))
    return from_bytes(name, filename, lambda: synth.video(how, frames, *size), ok(frames, facts))


def _vfr(name: str, filename: str, container: str, ticks: int) -> Case:
    """Frame durations between 20 and 200 ms, in whole ticks."""
    steps = np.random.default_rng(SEED).integers(20, 200, FRAMES - 1) * (ticks // 1000) + (ticks > 1000)
    pts = [0, *(int(step) for step in np.cumsum(steps))]
    how = replace(PLAIN, container=container, pts=pts, time_base=Fraction(1, ticks))
    facts = Facts(WIDTH, HEIGHT, seconds=tuple(Fraction(each, ticks) for each in pts))
    return from_bytes(name, filename, lambda: synth.video(how), ok(FRAMES, facts))


def _rotated(degrees: int) -> Case:
    width, height = (WIDTH, HEIGHT) if degrees == 180 else (HEIGHT, WIDTH)
    corner = {90: "top-right", 180: "bottom-right", 270: "bottom-left"}[degrees]
    facts = Facts(width, height, rotation=degrees, corner=corner, seconds=_regular(FRAMES))
    return from_bytes(
        f"rotated_{degrees}",
        f"rotated{degrees}.mp4",
        lambda: isobmff.set_rotation(synth.plain(), degrees),
        ok(FRAMES, facts),
    )


def _open_mdat() -> bytes:
    """The size 0 of the last box means: up to the end of the file."""
    data = synth.plain()
    return isobmff.patch(data, isobmff.find(data, "mdat").start, bytes(4))


def _after_ftyp(boxes: bytes) -> bytes:
    """Boxes in front of ``mdat``; ``moov`` comes last, its chunk offsets are moved along."""
    data = synth.plain(moov="last")
    at = isobmff.find(data, "ftyp").end
    return isobmff.shift_chunks(data[:at] + boxes + data[at:], len(boxes))


def _nest(kind: bytes, depth: int = 200) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = isobmff.make_box(kind, inner)
    return inner


def _noise(size: int) -> bytes:
    return np.random.default_rng(SEED).bytes(size)

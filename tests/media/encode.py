"""Pictures to video files, the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from tests.media.clips import Picture
from tests.media.priority import own_priority

BT709 = 1  # primaries, transfer and matrix alike (ISO/IEC 23091-2)
STUDIO_RANGE = 1
REPEATABLE = {"fflags": "+bitexact"}  # no random identifiers, no library versions
STABLE = {
    "libx264": {"x264-params": "cpu-independent=1"},  # or else two runs of one process differ
    "libx265": {"x265-params": "log-level=none:pools=1:frame-threads=1"},
}
THREADS = 2


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a video is encoded. ``pts`` are in units of ``time_base``; without them frames lie ``1 / fps``
    apart."""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    fps: Fraction = Fraction(25)
    gop: int = 12
    b_frames: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    container: str = "mp4"
    container_options: Mapping[str, str] = field(default_factory=dict)
    pts: Sequence[int] | None = None
    time_base: Fraction | None = None
    tone: bool = False  # with an AAC (mp4, mpegts, matroska) or Opus (webm) sine


@own_priority()
def encode(path: Path, pictures: Iterable[Picture], how: Encoding) -> None:
    """Encode RGB ``pictures`` (all of one size) into ``path``."""
    iterator = iter(pictures)
    first = next(iterator)
    height, width = first.shape[:2]
    with av.open(str(path), "w", format=how.container, options=REPEATABLE | dict(how.container_options)) as out:
        options = STABLE.get(how.codec, {}) | dict(how.options)
        stream = out.add_stream(how.codec, rate=how.fps, options=options)
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        stream.width, stream.height, stream.pix_fmt = width, height, how.pix_fmt
        context.gop_size, context.max_b_frames, context.thread_count = how.gop, how.b_frames, THREADS
        context.colorspace, context.color_primaries, context.color_trc = BT709, BT709, BT709
        context.color_range = STUDIO_RANGE
        if how.time_base is not None:
            context.time_base = stream.time_base = how.time_base
        time_base = how.time_base or 1 / how.fps
        tone = out.add_stream("libopus" if how.container == "webm" else "aac", rate=48_000) if how.tone else None
        count = 0
        for picture in _chain(first, iterator):
            raw = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = raw.reformat(format=how.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            frame.pts, frame.time_base = (how.pts[count] if how.pts else count), time_base
            out.mux(stream.encode(frame))
            count += 1
        out.mux(stream.encode(None))
        if tone is not None:
            assert isinstance(tone, av.AudioStream)
            _mux_tone(out, tone, float(count / how.fps))


def encode_tone(path: Path, seconds: float, container: str = "mp4") -> None:
    """A file that holds nothing but a sine: AAC, or Opus in webm."""
    with av.open(str(path), "w", format=container, options=dict(REPEATABLE)) as out:
        stream = out.add_stream("libopus" if container == "webm" else "aac", rate=48_000)
        assert isinstance(stream, av.AudioStream)
        _mux_tone(out, stream, seconds)


def _mux_tone(out: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    size = stream.codec_context.frame_size or 960
    for start in range(0, int(seconds * 48_000), size):
        time = np.arange(start, start + size) / 48_000
        wave: NDArray[np.float32] = (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
        planar = stream.codec_context.format.is_planar
        stereo = np.stack([wave, wave]) if planar else np.repeat(wave, 2)[None]
        frame = av.AudioFrame.from_ndarray(stereo, format="fltp" if planar else "flt", layout="stereo")
        frame.pts, frame.sample_rate, frame.time_base = start, 48_000, Fraction(1, 48_000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _chain(first: Picture, rest: Iterable[Picture]) -> Iterable[Picture]:
    yield first
    yield from rest

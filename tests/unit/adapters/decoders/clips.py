"""Small generated clips for decoder tests, and the naive decoder that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from orchestrator.adapters.decoders.scaling import Scaler, clockwise, place
from orchestrator.core.frames import View
from orchestrator.core.sampling import Sampling
from tests.media.priority import own_priority

X264 = "scenecut=0:b-adapt=0:"


@dataclass(frozen=True)
class Clip:
    """How to make a clip."""

    name: str
    codec: str = "libx264"
    frames: int = 60
    size: tuple[int, int] = (128, 96)
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    muxer: Mapping[str, str] = field(default_factory=dict)
    pts_ms: Sequence[int] | None = None

    @own_priority()
    def write(self, folder: Path) -> Path:
        """Encode into ``folder`` (once)."""
        path = folder / self.name
        if path.exists():
            return path
        width, height = self.size
        with av.open(str(path), "w", options=dict(self.muxer)) as out:
            stream = out.add_stream(self.codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, self.pix_fmt
            stream.options = dict(self.options)
            base = stream.codec_context.time_base = Fraction(1, 25 if self.pts_ms is None else 1000)
            for number in range(self.frames):
                frame = av.VideoFrame.from_ndarray(picture(number, width, height), "rgb24")
                frame.pts, frame.time_base = number if self.pts_ms is None else self.pts_ms[number], base
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path


def x264(parameters: str) -> dict[str, str]:
    """Options that fix the GOP structure."""
    return {"x264-params": X264 + parameters}


VARIED = tuple(int(pts) for pts in np.cumsum(np.random.default_rng(3).integers(5, 120, 80)))
_265 = "log-level=none:pools=1:frame-threads=1:scenecut=0:"
CLIPS = (
    Clip("plain.mp4", options={"bf": "0", "g": "12"}),
    Clip("pyramid.mp4", options=x264("keyint=24:min-keyint=24:bframes=3:b-pyramid=normal"), frames=100),
    Clip("opengop.mp4", options=x264("open-gop=1:keyint=15:min-keyint=15:bframes=3"), frames=100),
    Clip("opengop.ts", options=x264("open-gop=1:keyint=15:min-keyint=15:bframes=3"), frames=100),
    Clip(
        "hevc.mp4", "libx265", options={"x265-params": _265 + "open-gop=0:keyint=20:min-keyint=20:bframes=4"}, frames=90
    ),
    Clip("hevc-opengop.mkv", "libx265", options={"x265-params": _265 + "open-gop=1:keyint=15:bframes=4"}, frames=90),
    Clip("fragmented.mp4", options={"g": "12", "bf": "2"}, muxer={"movflags": "frag_keyframe+empty_moov"}, frames=80),
    Clip("faststart.mp4", options={"g": "12", "bf": "2"}, muxer={"movflags": "faststart"}, frames=80),
    Clip("tenbit.mp4", pix_fmt="yuv420p10le", options={"g": "12"}),
    Clip("odd.mkv", size=(127, 95), pix_fmt="yuv444p", options={"g": "12"}),
    Clip("vfr.mkv", options={"g": "12", "bf": "2"}, frames=80, pts_ms=VARIED),
    Clip("mpeg4.mp4", "mpeg4", options={"bf": "2", "g": "12"}, frames=80),
    Clip("mpeg4.avi", "mpeg4", options={"bf": "2", "g": "12"}, frames=80),
    Clip("mpeg2.ts", "mpeg2video", options={"bf": "2", "g": "12"}, frames=80),
    Clip("mpeg2.mpg", "mpeg2video", options={"bf": "2", "g": "12"}, frames=80),
    Clip("mjpeg.avi", "mjpeg", pix_fmt="yuvj420p"),
    Clip("vp8.webm", "libvpx", options={"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16"}, frames=80),
    Clip(
        "vp9.webm",
        "libvpx-vp9",
        options={"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime"},
    ),
    Clip("av1.mp4", "libsvtav1", options={"g": "20", "preset": "12"}),
    Clip("long.mp4", options={"g": "1000", "bf": "2"}, frames=300),
    Clip("one.mp4", frames=1),
    Clip("flash.flv", "flv", frames=50, options={"g": "12"}),
    Clip("prores.mov", "prores", pix_fmt="yuv422p10le", frames=30),
)


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A textured picture that moves with ``number``."""
    blocks = np.random.default_rng(0).integers(0, 255, (height // 8 + 9, width // 8 + 9, 3), dtype=np.uint8)
    big = blocks.repeat(8, 0).repeat(8, 1)
    x = number * 5 % 56
    view = big[x // 2 : x // 2 + height, x : x + width].copy()
    band = number * 3 % (height - 8)
    view[band : band + 8] = 255 - view[band : band + 8]
    return view


def still(folder: Path) -> Path:
    """Sixty frames of one picture; something small is seen in frames 26 to 33."""
    path = folder / "still.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "20", "bf": "0", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(60):
            image = picture(0, 128, 96)
            if 26 <= number < 34:
                image[40:46, 60:66] = 255 - image[40:46, 60:66]  # something small appears
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@dataclass(frozen=True)
class Truth:
    """What decoding everything gives: pts by index, pictures in ``view``, the end of the last frame."""

    pts: list[int]
    pictures: list[NDArray[np.uint8]]
    time_base: Fraction


def truth(path: Path, view: View) -> Truth:
    """Decode all of ``path`` with plain PyAV."""
    pts, pictures, scaler = [], [], Scaler(view)
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in media.demux(stream):
            try:
                frames = stream.decode(packet)
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                row = np.zeros((view.height, view.width, 3), np.uint8)
                place(scaler.scale(frame, clockwise(frame)), row)
                pts.append(frame.pts)
                pictures.append(row)
        return Truth(pts, pictures, stream.time_base)


def taken(pts: Sequence[int], sampling: Sampling, time_base: Fraction) -> list[int]:
    """Indices that a sampling takes."""
    before = [None, *pts[:-1]]
    return [i for i, at in enumerate(pts) if sampling.takes(at, before[i], pts[0], time_base)]

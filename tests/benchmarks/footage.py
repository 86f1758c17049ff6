"""The videos that are measured: real pictures, encoded once (kept in the user's cache), made long by remuxing.

All are H.264 at 25 frames per second with a keyframe every 48 frames (the composite: at most).
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np

from tests.media import clips, composite
from tests.media.clips import Picture
from tests.media.encode import Encoding, encode

RATE = 25
GOP = 48


@dataclass(frozen=True, slots=True)
class Footage:
    """A short video to be looped."""

    name: str
    height: int = 720
    preset: str = "fast"
    crf: int = 23

    def pictures(self) -> Iterator[Picture]:
        """The animal and the street, cut to whole GOPs: 336 pictures of ``height`` lines, 16:9."""
        for picture in chain(clips.pictures("bigbuckbunny"), clips.pictures("bikes", 0, 7 * GOP - 132)):
            yield _widen(picture, self.height)


class Calm(Footage):
    """One shot without a cut, even where it is looped: the animal, forwards and backwards (264 pictures)."""

    def pictures(self) -> Iterator[Picture]:
        """See ``Footage``."""
        shot = list(clips.pictures("bigbuckbunny"))
        return iter(shot + shot[::-1])


STREET_720 = Footage("street")
STREET_1080 = Footage("street", height=1080)
LIGHT = Footage("light", preset="superfast", crf=36)  # small enough for an hour of it
CALM = Calm("calm")


def base(footage: Footage) -> Path:
    """The encoded video, out of the cache where it is there."""
    digest = hashlib.sha256(f"{footage!r} {av.__version__} {Path(__file__).read_text()}".encode()).hexdigest()[:12]
    path = clips.cache_dir() / "bench" / f"{footage.name}-{footage.height}-{digest}.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {"preset": footage.preset, "crf": str(footage.crf), "sc_threshold": "0"}
        how = Encoding(fps=Fraction(RATE), gop=GOP, b_frames=3, options=options)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            encode(Path(scratch) / path.name, footage.pictures(), how)
            os.replace(Path(scratch) / path.name, path)
    return path


def busy_base(folder: Path) -> Path:
    """The composite of ``tests.media``: eleven parts in 24 s, with text, faces, cars and people."""
    path = folder / "composite.mp4"
    if not path.exists():
        composite.build_composite(path)
    return path


def loop(source: Path, times: int, target: Path) -> int:
    """Remux ``source`` ``times`` over into ``target`` (whole GOPs, shifted pts); returns the number of frames."""
    with av.open(str(source)) as media:
        stream = media.streams.video[0]
        packets = [packet for packet in media.demux(stream) if packet.size]
        step = int(1 / (RATE * stream.time_base))
        with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as out:
            copy = out.add_stream_from_template(stream, opaque=True)
            for number in range(times):
                shift = number * len(packets) * step
                for packet in packets:
                    again = av.Packet(bytes(packet))
                    again.pts, again.dts, again.duration = packet.pts + shift, packet.dts + shift, packet.duration
                    again.time_base, again.is_keyframe, again.stream = packet.time_base, packet.is_keyframe, copy
                    out.mux(again)
        return times * len(packets)


def wanted(frames: int, fps: int) -> list[int]:
    """Indices of the frames that answer the ticks of ``fps`` per second (0: every frame), written down anew here so
    that what is counted does not come from the code that is measured."""
    if not fps:
        return list(range(frames))
    ticks = (math.ceil(Fraction(number * RATE, fps)) for number in range(frames))
    return sorted({index for index in ticks if index < frames})


def loops_for(seconds: float, seconds_per_loop: float) -> int:
    """Loops for a run of at least ``seconds``, in steps of a quarter at most."""
    need = max(1.0, seconds / seconds_per_loop)
    step = 2 ** max(0, math.floor(math.log2(need)) - 2)
    return math.ceil(need / step) * step


def _widen(picture: Picture, height: int) -> Picture:
    """Enlarge to ``height`` lines and cut 16:9 out of the right side (where the street's people are)."""
    width = height * 16 // 9
    scale = height / picture.shape[0]
    if scale != 1 or picture.shape[1] != width:
        size = max(width, round(picture.shape[1] * scale)), height
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)[:, -width:]
    return np.ascontiguousarray(picture)

"""Small generated videos: a drifting texture that changes once (a cut in the middle), with a white square in
the coded top-left corner."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np

from tests.media.clips import Picture
from tests.media.encode import Encoding, encode

FRAMES, WIDTH, HEIGHT = 50, 320, 240
CORNER = 0.2
"""Side of the white square, as a share of the picture's height."""


def pattern(frames: int = FRAMES, width: int = WIDTH, height: int = HEIGHT) -> Iterator[Picture]:
    """RGB pictures: a seeded texture that drifts, another one from ``frames // 2`` on."""
    texture: Picture = np.zeros((0, 0, 3), np.uint8)
    for index in range(frames):
        if index in (0, frames // 2):
            texture = _texture(seed=index, width=width, height=height)
        picture = np.roll(texture, (index, 2 * index), axis=(0, 1))
        side = round(height * CORNER)
        picture[:side, :side] = 255
        yield picture


def _texture(seed: int, width: int, height: int) -> Picture:
    random = np.random.default_rng(seed + 1)
    coarse = random.integers(0, 200, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def video(how: Encoding, frames: int = FRAMES, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """The bytes of ``pattern`` encoded as ``how`` says."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "video"
        encode(path, pattern(frames, width, height), how)
        return path.read_bytes()


PLAIN = Encoding(b_frames=2, options={"crf": "28"}, container_options={"movflags": "+faststart"})


@lru_cache(maxsize=32)
def plain(container: str = "mp4", moov: str = "first") -> bytes:
    """50 frames of 320x240 H.264 with B-frames, 25 fps; ``moov`` (mp4 only) is ``first``, ``last`` or
    ``fragments``."""
    flags = {"first": "+faststart", "fragments": "frag_keyframe+empty_moov+default_base_moof"}.get(moov)
    options = {"movflags": flags} if container == "mp4" and flags else {}
    return video(replace(PLAIN, container=container, container_options=options))


@lru_cache(maxsize=8)
def packet_ends(data: bytes) -> tuple[int, ...]:
    """Where each video packet ends in the file, in decoding order (approximate for containers that interleave
    headers)."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with av.open(file.name) as container:
            return tuple(
                packet.pos + packet.size
                for packet in container.demux(video=0)
                if packet.pos is not None and packet.size
            )

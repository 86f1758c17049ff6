"""A composite of the real clips whose cuts, words, people, cars, bicycles and faces are known.

1280x720, 25 fps, H.264 (keyframes at most 48 frames apart), faststart MP4, 602 frames. Run it by itself::

    python -m tests.media.composite OUT.mp4 [--truth TRUTH.json] [--dissolves]

The truth follows from the recipe: what each source frame shows was judged by eye once (``SIGHTINGS``), the
recipe says where that frame ends up. Results are cached by a hash of the recipe, the clips and the library
versions.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from tests.media import captions, clips, encode
from tests.media.clips import Picture
from tests.media.truth import Caption, Span, Truth

WIDTH, HEIGHT, FPS, GOP = 1280, 720, 25, 48
CARD = "card"


@dataclass(frozen=True, slots=True)
class Line:
    """A caption of one part, over the part's own frames ``[start, end)``; ``place`` is ``low``, ``high`` or
    ``middle``."""

    text: str
    start: int
    end: int
    place: str = "low"


@dataclass(frozen=True, slots=True)
class Part:
    """Frames ``[start, end)`` of a clip. With ``window`` = (x, y), each 0..1, the picture is cropped to 16:9
    at that place (0 = left or top, 1 = right or bottom) and enlarged by ``zoom``; without, it is padded.
    ``mix`` frames of the part before fade into this one."""

    clip: str
    start: int
    end: int
    window: tuple[float, float] | None = None
    zoom: float = 1.0
    line: Line | None = None
    mix: int = 0

    @property
    def frames(self) -> int:
        """Number of source frames."""
        return self.end - self.start


REEL = (
    Part(CARD, 0, 50, line=Line("REELSIFT DEMO 2026", 0, 50, "middle")),
    Part("bikes", 0, 30),
    Part("bikes", 30, 76, window=(1.0, 0.5)),
    Part("bigbuckbunny", 0, 66, line=Line("BREAKING NEWS: RIVER FERRY", 8, 66)),
    Part("bikes", 76, 137, window=(1.0, 0.5)),
    Part("carphone_pristine", 0, 120, window=(0.5, 0.0), line=Line("CALL 555 0134 NOW", 20, 110, "high")),
    Part("bikes", 137, 187, window=(0.6, 0.6), zoom=1.8, line=Line("LIVE FROM BRUSSELS", 0, 50, "high")),
    Part("bigbuckbunny", 66, 132, window=(0.1, 0.3), zoom=1.5),
    Part("bikes", 187, 242, window=(0.6, 0.5)),
    Part("bikes", 242, 250, window=(0.6, 0.5)),
    Part(CARD, 50, 100, line=Line("THANK YOU FOR WATCHING", 0, 50, "middle")),
)
"""The composite: hard cuts only."""

DISSOLVES = (
    Part("bigbuckbunny", 0, 60),
    Part("bikes", 187, 240, window=(0.6, 0.5), mix=12),
    Part("carphone_pristine", 0, 70, window=(0.5, 0.0), mix=12),
    Part("bikes", 137, 187, window=(0.6, 0.6), zoom=1.8),
    Part("bigbuckbunny", 66, 126, window=(0.1, 0.3), zoom=1.5, mix=12),
)
"""The variant with cross-fades of 12 frames, and one hard cut (a part without ``mix``)."""

SIGHTINGS: dict[str, dict[str, tuple[Span, ...]]] = {
    # A man in a suit between blurred cars (30-42), a cyclist behind passing cars (106-137), a busy road
    # behind a fence (137-187; its cars grow small after 172), legs, then only a parked bicycle (187-242).
    "bikes": {
        "persons": (Span(30, 42), Span(107, 137)),
        "cars": (Span(137, 172),),
        "bicycles": (Span(107, 137), Span(187, 242)),
        "faces": (),
        "no_faces": (Span(137, 187), Span(212, 242)),
    },
    "carphone_pristine": {
        "persons": (Span(0, 120),),
        "cars": (),
        "bicycles": (),
        "faces": (Span(0, 120),),
        "no_faces": (),
    },
    "bigbuckbunny": {},
    CARD: {"no_faces": (Span(0, 100),)},
}


def build_composite(path: Path) -> Truth:
    """Write the composite to ``path``; returns its truth. Raises ``ClipUnavailable``."""
    return build(path, REEL)


def build_dissolves(path: Path) -> Truth:
    """Write the variant with cross-fades to ``path``; returns its truth. Raises ``ClipUnavailable``."""
    return build(path, DISSOLVES)


def build(path: Path, parts: tuple[Part, ...]) -> Truth:
    """Write the video that ``parts`` describe to ``path``, out of the cache where it is there."""
    home = clips.cache_dir() / "media" / recipe_hash(parts)
    if not (home / "truth.json").exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
            _render(Path(scratch) / "video.mp4", parts)
            truth_of(parts).write(Path(scratch) / "truth.json")
            home.mkdir(exist_ok=True)
            for name in ("video.mp4", "truth.json"):  # the truth last: it marks the folder as complete
                os.replace(Path(scratch) / name, home / name)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(home / "video.mp4", path)
    return Truth.read(home / "truth.json")


def recipe_hash(parts: tuple[Part, ...]) -> str:
    """Names everything that the built video depends on."""
    here = Path(__file__).parent
    digest = hashlib.sha256(repr(parts).encode())
    for name in ("composite.py", "captions.py", "encode.py", "truth.py", "clips.py"):
        digest.update((here / name).read_bytes())
    for package in ("av", "numpy", "opencv-python-headless"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()[:16]


def truth_of(parts: tuple[Part, ...]) -> Truth:
    """What the recipe says about the video, without building it."""
    starts, cuts, dissolves = [], [], []
    length = 0
    for part in parts:
        starts.append(length - part.mix)
        if part.mix:
            dissolves.append(Span(length - part.mix, length))
        elif length:
            cuts.append(length)
        length += part.frames - part.mix

    def seen(kind: str) -> tuple[Span, ...]:
        spans = []
        for index, (part, at) in enumerate(zip(parts, starts, strict=True)):
            fades_out = parts[index + 1].mix if index + 1 < len(parts) else 0
            for span in SIGHTINGS[part.clip].get(kind, ()):
                low, high = max(span.start, part.start + part.mix), min(span.end, part.end - fades_out)
                if low < high:
                    spans.append(Span(at + low - part.start, at + high - part.start))
        return tuple(spans)

    return Truth(
        width=WIDTH,
        height=HEIGHT,
        fps=FPS,
        frames=length,
        cuts=tuple(cuts),
        dissolves=tuple(dissolves),
        captions=tuple(
            Caption(part.line.text, Span(at + part.line.start, at + part.line.end), _stamp(part.line).box)
            for part, at in zip(parts, starts, strict=True)
            if part.line
        ),
        persons=seen("persons"),
        cars=seen("cars"),
        bicycles=seen("bicycles"),
        faces=seen("faces"),
        no_faces=seen("no_faces"),
    )


def _stamp(line: Line) -> captions.Stamp:
    return captions.stamp(line.text, WIDTH, HEIGHT, line.place)


def _render(path: Path, parts: tuple[Part, ...]) -> None:
    how = encode.Encoding(
        gop=GOP,
        b_frames=3,
        options={"preset": "superfast", "crf": "22"},
        container_options={"movflags": "+faststart"},
    )
    encode.encode(path, _frames(parts), how)


def _frames(parts: tuple[Part, ...]) -> Iterator[Picture]:
    """The video's frames; the end of each part is held back for the cross-fade that follows."""
    tail: list[Picture] = []
    for index, part in enumerate(parts):
        own = _part_frames(part)
        for step, (old, new) in enumerate(zip(tail, islice(own, len(tail)), strict=True)):
            share = (step + 1) / (len(tail) + 1)
            yield cv2.addWeighted(old, 1 - share, new, share, 0)
        held = parts[index + 1].mix if index + 1 < len(parts) else 0
        yield from islice(own, part.frames - part.mix - held)
        tail = list(own)


def _part_frames(part: Part) -> Iterator[Picture]:
    source = _card(part.start, part.end) if part.clip == CARD else clips.pictures(part.clip, part.start, part.end)
    stamp = _stamp(part.line) if part.line else None
    for index, picture in enumerate(source):
        fitted = _fit(picture, part)
        if stamp and part.line and part.line.start <= index < part.line.end:
            stamp.burn(fitted)
        yield fitted


def _fit(picture: Picture, part: Part) -> Picture:
    height, width = picture.shape[:2]
    if part.window is None:
        scale = min(WIDTH / width, HEIGHT / height)
        inner = _resize(picture, round(width * scale), round(height * scale))
        canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        top, left = (HEIGHT - inner.shape[0]) // 2, (WIDTH - inner.shape[1]) // 2
        canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return canvas
    scale = max(WIDTH / width, HEIGHT / height) * part.zoom
    crop_width, crop_height = round(WIDTH / scale), round(HEIGHT / scale)
    left, top = (round((width - crop_width) * part.window[0]), round((height - crop_height) * part.window[1]))
    return _resize(picture[top : top + crop_height, left : left + crop_width], WIDTH, HEIGHT)


def _resize(picture: Picture, width: int, height: int) -> Picture:
    if picture.shape[:2] == (height, width):
        return picture.copy()
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _card(start: int, end: int) -> Iterator[Picture]:
    """A slowly drifting gradient."""
    slope = np.arange(WIDTH)[None, :] + 2 * np.arange(HEIGHT)[:, None]
    for index in range(start, end):
        wave = 0.5 + 0.5 * np.sin((np.arange(slope.max() + 1) + 6 * index) / 300)
        colours = np.stack([20 + 30 * wave, 40 + 50 * wave, 150 - 60 * wave], axis=-1).astype(np.uint8)
        yield colours[slope]


def main(arguments: list[str] | None = None) -> int:
    """Build from the command line."""
    parser = argparse.ArgumentParser(description="Build a test video with known truth.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--truth", type=Path, help="also write what is known of the video, as JSON")
    parser.add_argument("--dissolves", action="store_true", help="the variant with cross-fades")
    options = parser.parse_args(arguments)
    try:
        truth = build(options.output, DISSOLVES if options.dissolves else REEL)
    except clips.ClipUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.truth:
        truth.write(options.truth)
    return 0


if __name__ == "__main__":
    sys.exit(main())

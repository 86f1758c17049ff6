"""From a decoded frame straight to the pictures that the taps want.

Shrinking averages areas, anything else is bicubic. BT.709 where an HD picture does not name its matrix (BT.601 else).
Rotation is applied to the small picture. Non-square pixels are not stretched: views see the coded picture.
"""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from orchestrator.core.frames import View

Pixels = NDArray[np.uint8]
_HD_PIXELS = 1280 * 720
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_AREA, _BICUBIC = int(Interpolation.AREA), int(Interpolation.BICUBIC)


class Scaler:
    """Scales for one tap in one thread (libswscale contexts are not shared)."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._reformatter = VideoReformatter()
        self._sizes: dict[tuple[int, int, int], tuple[int, int]] = {}

    def scale(self, frame: av.VideoFrame, clockwise: int) -> Pixels:
        """RGB ``[h, w, 3]`` (possibly smaller than the view when letterboxed); memory of its own."""
        width, height = self._size(frame.width, frame.height, clockwise)
        small = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgb24",
            interpolation=_AREA if width <= frame.width and height <= frame.height else _BICUBIC,
            src_colorspace=_colorspace(frame),
            dst_color_range=int(ColorRange.JPEG),
            threads=1,
        )
        plane = small.planes[0]
        picture = (
            np.frombuffer(memoryview(plane), np.uint8)
            .reshape(-1, plane.line_size)[:height, : width * 3]
            .reshape(height, width, 3)
        )
        return np.rot90(picture, -(clockwise // 90)) if clockwise else picture

    def _size(self, width: int, height: int, clockwise: int) -> tuple[int, int]:
        """Size before rotation; remembered because exact letterbox arithmetic is slow."""
        key = width, height, clockwise
        if key not in self._sizes:
            self._sizes[key] = self._view.content_before_turn(width, height, clockwise)
        return self._sizes[key]


class MemoryCanvas:
    """A ``Canvas`` over a slot that this process has mapped: uint8 ``[batch, h, w, 3]``."""

    def __init__(self, slot: Pixels) -> None:
        self._slot = slot

    def put(self, row: int, picture: object) -> None:
        """See ``Canvas``."""
        assert isinstance(picture, np.ndarray)
        place(picture, self._slot[row])

    def commit(self) -> None:
        """It is there already."""


def place(picture: Pixels, row: Pixels) -> None:
    """Copy ``picture`` into the row of a slot, zero around it."""
    height, width = picture.shape[:2]
    if (height, width) != row.shape[:2]:
        row[height:] = 0
        row[:height, width:] = 0
        row = row[:height, :width]
    row[...] = picture


def clockwise(frame: av.VideoFrame) -> int:
    """Degrees (0, 90, 180, 270) that show the frame upright; odd angles are rounded, mirroring is ignored."""
    return int(round(-frame.rotation / 90) * 90 % 360)


def _colorspace(frame: av.VideoFrame) -> int | None:
    if frame.colorspace != _UNSPECIFIED:
        return None
    return int(Colorspace.ITU709 if frame.width * frame.height >= _HD_PIXELS else Colorspace.ITU601)

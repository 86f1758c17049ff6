"""From decoded surfaces to the pictures that the taps want, many frames at once, with torch's own operations.

A surface is what NVDEC gives: NV12 or P016, ``[h + ceil(h / 2), w]``, luma above interleaved chroma. Of a frame nothing leaves the
device but the thumbnails by which repeats are told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.adapters.gpu.colour import Colour
from orchestrator.adapters.gpu.resampling import weights
from orchestrator.core.frames import View
from orchestrator.core.perceptual import averages, thumbnail_size

_Maker = Callable[[int, int], NDArray[Any]]


@dataclass(frozen=True)
class Geometry:
    """Frames of ``width`` x ``height`` pixels, shown ``turn`` degrees clockwise of how they are stored."""

    width: int
    height: int
    turn: int

    def size_in(self, view: View) -> tuple[int, int]:
        """Width and height of the picture in ``view``, before it is turned."""
        return view.content_before_turn(self.width, self.height, self.turn)


class Painter:
    """Makes the pictures of frames of one geometry and colour, on ``device``."""

    def __init__(self, geometry: Geometry, colour: Colour, device: torch.device) -> None:
        self._geometry, self._device = geometry, device
        # Half precision holds samples of up to 11 bits exactly, and sums are kept in single precision.
        self._dtype = torch.float16 if device.type == "cuda" else torch.float32
        matrix, offset = colour.affine()
        self._matrix = torch.tensor(matrix.T, dtype=torch.float32, device=device)
        self._offset = torch.tensor(offset, dtype=torch.float32, device=device)
        self._weights: dict[tuple[object, ...], Tensor] = {}

    def planes(self, surfaces: Sequence[Tensor]) -> Planes:
        """The surfaces, for ``paint``."""
        return Planes(torch.stack(list(surfaces)), self._geometry.height, self._dtype)

    def paint(self, planes: Planes, view: View, rows: Sequence[int] | None = None) -> Tensor:
        """uint8 RGB ``[n, h, w, 3]`` of the surfaces (or of ``rows`` of them), upright; smaller than the view where letterboxed."""
        width, height = self._geometry.size_in(view)
        chosen = None if rows is None or len(rows) == planes.count else list(rows)
        resized = [
            self._resize(plane if chosen is None else plane[chosen], height, width)
            for plane in (planes.y, planes.cb, planes.cr)
        ]
        rgb = torch.stack(resized, dim=-1).float() @ self._matrix + self._offset
        pictures = rgb.round_().clamp_(0, 255).to(torch.uint8)
        turns = self._geometry.turn // 90
        return torch.rot90(pictures, -turns, dims=(1, 2)).contiguous() if turns else pictures

    def thumbnails(self, pictures: Tensor) -> NDArray[np.float32]:
        """Thumbnails ``[n, rows, columns]`` of pictures ``[n, h, w, 3]``, as ``core.perceptual`` makes them."""
        height, width = pictures.shape[1:3]
        rows, columns = thumbnail_size(height, width)
        down, across = (self._constant(averages, *size, torch.float32) for size in ((rows, height), (columns, width)))
        small = down @ pictures[..., 1].float() @ across.T
        return np.asarray(small.cpu().numpy(), np.float32)

    def _resize(self, plane: Tensor, height: int, width: int) -> Tensor:
        rows = self._constant(weights, height, plane.shape[1], self._dtype)
        columns = self._constant(weights, width, plane.shape[2], self._dtype)
        return rows @ plane @ columns.T

    def _constant(self, made: _Maker, out: int, size: int, dtype: torch.dtype) -> Tensor:
        """``made(out, size)``, on the device once and for all."""
        key = made, out, size
        if key not in self._weights:
            self._weights[key] = torch.tensor(made(out, size), dtype=dtype, device=self._device)
        return self._weights[key]


class Planes:
    """Planes ``[n, h, w]`` of surfaces ``[n, h + ceil(h / 2), w]``, on the scale of 8 bits."""

    def __init__(self, surfaces: Tensor, height: int, dtype: torch.dtype) -> None:
        self._surfaces, self._height, self._dtype = surfaces, height, dtype

    @property
    def count(self) -> int:
        """Surfaces."""
        return int(self._surfaces.shape[0])

    @cached_property
    def y(self) -> Tensor:
        """Luma."""
        return self._scaled(self._surfaces[:, : self._height])

    @cached_property
    def cb(self) -> Tensor:
        """Blue difference, of half the size."""
        return self._scaled(self._surfaces[:, self._height :, 0::2])

    @cached_property
    def cr(self) -> Tensor:
        """Red difference, of half the size."""
        return self._scaled(self._surfaces[:, self._height :, 1::2])

    def _scaled(self, plane: Tensor) -> Tensor:
        if plane.dtype == torch.uint8:
            return plane.to(self._dtype)
        return (plane.to(torch.float32) / 256).to(self._dtype)  # P016: the sample is in the high bits of 16

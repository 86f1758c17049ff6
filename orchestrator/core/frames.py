"""Views, taps and batches: what a decoder delivers.

A *view* is a picture size; a *tap* is a view with a sampling and a batch size, shared by every analyzer that asks for
the same one;
a *batch* is one arena slot of a tap: uint8 RGB, ``[tap.batch, view.height, view.width, 3]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.sampling import Sampling


class Fit(Enum):
    """How a picture fills its view."""

    STRETCH = "stretch"  # to the full view, whatever the aspect ratio
    LETTERBOX = "letterbox"  # aspect kept, at the top left; the rest is zero


@dataclass(frozen=True, slots=True)
class View:
    """A picture of ``width`` x ``height`` pixels."""

    width: int
    height: int
    fit: Fit = Fit.STRETCH

    def __post_init__(self) -> None:
        if not (0 < self.width <= 8192 and 0 < self.height <= 8192):
            raise ValueError(f"a view is 1..8192 pixels a side, got {self.width}x{self.height}")

    def content(self, width: int, height: int) -> tuple[int, int]:
        """Size in pixels of a ``width`` x ``height`` source inside this view, from its top left corner."""
        if self.fit is Fit.STRETCH:
            return self.width, self.height
        scale = min(Fraction(self.width, width), Fraction(self.height, height))
        return max(1, int(width * scale)), max(1, int(height * scale))

    def content_before_turn(self, width: int, height: int, turn: int) -> tuple[int, int]:
        """The same of a picture that is stored as ``width`` x ``height`` and turned ``turn`` degrees afterwards, before that."""
        if turn not in (90, 270):
            return self.content(width, height)
        across, down = self.content(height, width)
        return down, across

    @property
    def frame_bytes(self) -> int:
        """Bytes of one RGB picture."""
        return self.width * self.height * 3


@dataclass(frozen=True, slots=True)
class Tap:
    """A stream of pictures out of the decoder.

    ``reuse`` lets the decoder mark a picture that is nearly identical to an earlier one of its GOP (perceptual hash),
    so that it is not inferred again. ``host``: its pixels are read by the service too, not by models alone.
    """

    view: View
    sampling: Sampling
    batch: int
    reuse: bool = False
    host: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= 256:
            raise ValueError(f"a tap's batch is 1..256 frames, got {self.batch}")

    @property
    def slot_bytes(self) -> int:
        """Bytes of one full batch."""
        return self.batch * self.view.frame_bytes


class Slot(Protocol):
    """A lease on a piece of the frame arena. It returns to the arena when every holder has released it."""

    @property
    def nbytes(self) -> int: ...

    def array(self, shape: tuple[int, ...], dtype: str = "uint8", offset: int = 0) -> NDArray[np.generic]:
        """A view of the slot's memory, no copy; valid while held."""
        ...

    def part(self, offset: int, nbytes: int) -> Slot:
        """A part of this slot for one request, sharing its lease (does not need its own release)."""
        ...

    def retain(self) -> None:
        """One more holder."""
        ...

    def release(self) -> None:
        """One holder less."""
        ...


@dataclass(frozen=True, slots=True)
class FrameRow:
    """One sampled frame: its place in the slot, or the earlier frame whose answer it shares.

    ``row`` is the row of the slot, or ``None`` when the picture equals that of frame ``same_as`` (always an earlier
    frame of the same tap).
    """

    index: int
    pts: int
    row: int | None
    same_as: int | None = None

    def __post_init__(self) -> None:
        if (self.row is None) == (self.same_as is None):
            raise ValueError(f"frame {self.index} has either a row or a frame that it repeats")


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Sampled frames of one tap, in rising order of index.

    ``through``: every sampled frame with an index below it is in this batch or an earlier one. ``slot`` is ``None``
    when no frame needs pixels. Rows of the slot
    beyond those used hold old pixels: their answers are ignored.
    """

    tap: Tap
    rows: tuple[FrameRow, ...]
    through: int
    slot: Slot | None = field(default=None, compare=False)

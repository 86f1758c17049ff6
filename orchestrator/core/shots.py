"""Shot detection around TransNetV2: windows, the gate in front of them, and cuts out of scores. Pure.

TransNetV2 (Soucek & Lokoc 2020, arXiv:2008.04838) scores windows of 100 frames at 48x27 pixels, of which the middle
50 count; windows are anchored at frame 0, the
ends are padded by repeating the first and last frame, as its reference inference does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.segmenting import Boundary

WINDOW = 100  # frames a window shows to the model
CORE = 50  # frames in its middle that it decides
LEAD = (WINDOW - CORE) // 2
LAG = 12  # frames over which a gradual transition shows itself

Thumbnails = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides from the thumbnails alone whether a window can hold a cut, so that quiet windows need no model.

    ``step``: mean absolute difference (0..255) of neighbouring frames above which a hard cut is possible.
    ``drift``: the same over ``LAG`` frames, for fades and dissolves. Zero thresholds open the gate for any change at
    all.
    """

    step: float
    drift: float

    def opens(self, thumbnails: Thumbnails) -> bool:
        """Whether consecutive ``thumbnails`` ``[n, 27, 48, 3]`` (those of ``Window.gate_range``) may hold a cut."""
        frames = thumbnails.astype(np.int16)
        if len(frames) < 2:
            return False
        axes = (1, 2, 3)
        if float(np.abs(frames[1:] - frames[:-1]).mean(axis=axes).max()) > self.step:
            return True
        if len(frames) <= LAG:
            return float(np.abs(frames[-1] - frames[0]).mean()) > self.drift
        return float(np.abs(frames[LAG:] - frames[:-LAG]).mean(axis=axes).max()) > self.drift


@dataclass(frozen=True, slots=True)
class Window:
    """Window ``number`` decides frames ``[core_start, core_end)`` and shows frames ``[core_start - LEAD, core_start -
    LEAD + WINDOW)``.
    """

    number: int

    @property
    def core_start(self) -> int:
        return self.number * CORE

    @property
    def core_end(self) -> int:
        return self.core_start + CORE

    def ready(self, frames: int, finished: bool) -> bool:
        """Whether it can be judged once ``frames`` frames are known."""
        return self.core_start < frames and (finished or frames >= self.core_start - LEAD + WINDOW)

    def indices(self, frames: int) -> NDArray[np.int64]:
        """The ``WINDOW`` frame indices shown, repeated at the ends of a media of ``frames`` frames."""
        first = self.core_start - LEAD
        return np.clip(np.arange(first, first + WINDOW), 0, frames - 1)

    def gate_range(self, frames: int) -> tuple[int, int]:
        """Frames ``[start, end)`` that the gate compares: a transition with its middle in the core shows itself half
        of ``LAG`` around it.
        """
        return max(0, self.core_start - LAG // 2), min(frames, self.core_end + LAG // 2 + 1)


class CutFinder:
    """Turns a stream of per-frame scores into cuts.

    A run of frames above ``threshold`` is one transition; its peak is the last frame of the old shot (TransNetV2
    marks the frame before a hard cut).
    """

    def __init__(self, threshold: float) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"a threshold lies between 0 and 1, got {threshold}")
        self._threshold = threshold
        self._next = 0
        self._run: tuple[int, float] | None = None  # peak of the open run

    @property
    def settled(self) -> int:
        """No cut will be reported at a frame below this any more."""
        return self._next if self._run is None else min(self._next, self._run[0] + 1)

    def feed(self, scores: Sequence[float] | NDArray[np.float32], *, last: bool = False) -> list[Boundary]:
        """Scores of the next frames; ``last`` when no frame follows. Returns cuts in order."""
        cuts: list[Boundary] = []
        for score in scores:
            value = float(score)
            if value > self._threshold:
                if self._run is None or value > self._run[1]:
                    self._run = (self._next, value)
            elif self._run is not None:
                cuts.append(Boundary(self._run[0] + 1, self._run[1]))
                self._run = None
            self._next += 1
        if last and self._run is not None:
            if self._run[0] + 1 < self._next:
                cuts.append(Boundary(self._run[0] + 1, self._run[1]))
            self._run = None
        return cuts

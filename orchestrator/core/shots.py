"""Shot detection around TransNetV2: windows, the gate in front of them, and cuts out of scores. Pure.

TransNetV2 (Soucek & Lokoc 2020, arXiv:2008.04838) scores windows of frames at 48x27 pixels; its reference inference shows it 100, of
which the middle 50 count, and pads the ends of the media by repeating the first and last frame. So do we, anchored at frame 0; but
where two neighbouring cores both need the model they share a window of 150, which costs a quarter less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.segmenting import Boundary

CORE = 50  # frames that a window decides
LEAD = 25  # further frames that it shows at each end
LAG = 24  # frames over which a gradual transition shows itself
NEARBY = 8  # frames on each side that tell how much motion is usual
STILL = 0.5  # mean difference of a picture that stands still: noise of the codec

Thumbnails = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides from the thumbnails alone whether a window can hold a cut, so that quiet windows need no model.

    A hard cut is a jump: ``step`` is the least mean absolute difference (0..255) of neighbouring frames that counts as one, if it is also
    ``jump`` times the usual difference nearby (motion is as large, but lasts). A gradual transition changes the colours: ``drift`` is
    the least distance (0..1) between the histograms of 4 x 4 x 4 colours of frames that lie ``LAG`` apart. Zero thresholds open the
    gate for any change at all. On the clips of the tests true cuts jump by 3.4 times or more and dissolves drift by 0.36 or more,
    while motion stays below 2.2 and 0.1; the defaults keep a distance from both.
    """

    step: float
    jump: float
    drift: float

    def opens(self, thumbnails: Thumbnails, jumps: slice = slice(None)) -> bool:
        """Whether consecutive ``thumbnails`` ``[n, 27, 48, 3]`` may hold a cut, hard ones among the frames ``jumps`` alone."""
        if len(thumbnails) < 2:
            return False
        return self._jumps(thumbnails, jumps) or self._drifts(thumbnails)

    def _jumps(self, thumbnails: Thumbnails, among: slice) -> bool:
        frames = thumbnails.astype(np.int16)
        steps = np.abs(frames[1:] - frames[:-1]).mean(axis=(1, 2, 3))
        usual = [float(np.median(steps[max(0, at - NEARBY) : at + NEARBY + 1])) for at in range(len(steps))]
        found = (steps > self.step) & (steps > self.jump * np.maximum(usual, STILL))
        return bool(np.any(np.concatenate([[False], found])[among]))

    def _drifts(self, thumbnails: Thumbnails) -> bool:
        levels = (thumbnails >> 6).astype(np.int64)
        colours = (levels[..., 0] * 16 + levels[..., 1] * 4 + levels[..., 2]).reshape(len(thumbnails), -1)
        shares = np.stack([np.bincount(frame, minlength=64) for frame in colours]) / colours.shape[1]
        lag = min(LAG, len(shares) - 1)
        return bool(np.any(np.abs(shares[lag:] - shares[:-lag]).sum(axis=1) / 2 > self.drift))


@dataclass(frozen=True, slots=True)
class Window:
    """Decides frames ``[core_start, core_end)``, and shows ``LEAD`` frames more at each end."""

    core_start: int
    core_end: int

    def indices(self, frames: int) -> NDArray[np.int64]:
        """The frame indices shown, repeated at the ends of a media of ``frames`` frames."""
        return np.clip(np.arange(self.core_start - LEAD, self.core_end + LEAD), 0, frames - 1)

    def seen_by_gate(self, frames: int) -> tuple[int, int, slice]:
        """What the gate compares: frames ``[start, end)``, and which of them may be the first of a new shot.

        A gradual transition with its middle in the core shows itself half of ``LAG`` around it.
        """
        start, end = max(0, self.core_start - LAG // 2), min(frames, self.core_end + LAG // 2 + 1)
        return start, end, slice(self.core_start + 1 - start, self.core_end + 1 - start)


@dataclass(frozen=True, slots=True)
class Block:
    """Cores that are judged together: the first alone, so that the first segment is not kept waiting, then two by two.

    ``half``: the first of the two was decided by itself before, so that only the second is left.
    """

    number: int
    half: bool = False

    @classmethod
    def after(cls, frames: int) -> Block:
        """What is judged next when the first ``frames`` frames (whole cores, or all of the media) have been decided."""
        core = -(-frames // CORE)
        return cls((core + 1) // 2, half=core > 0 and core % 2 == 0)

    @property
    def next(self) -> Block:
        """The block behind it."""
        return Block(self.number + 1)

    @property
    def cores(self) -> tuple[Window, ...]:
        """The cores, whether or not the media has frames for them."""
        halves = (2 * self.number - 1, 2 * self.number)[self.half :] if self.number else (0,)
        return tuple(Window(half * CORE, (half + 1) * CORE) for half in halves)

    def ready(self, frames: int, finished: bool) -> bool:
        """Whether it can be judged once ``frames`` frames are known."""
        cores = self.cores
        return cores[0].core_start < frames and (finished or frames >= cores[-1].core_end + LEAD)

    def windows(self, frames: int, needs_model: Callable[[Window], bool]) -> list[tuple[Window, bool]]:
        """The windows that decide its frames, in order, and which of them go to the model."""
        judged = [(core, needs_model(core)) for core in self.cores if core.core_start < frames]
        if len(judged) == 2 and all(needed for _, needed in judged):
            return [(Window(judged[0][0].core_start, judged[1][0].core_end), True)]
        return judged


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
    def decided(self) -> int:
        """Frames whose scores have come."""
        return self._next

    def state(self) -> Mapping[str, object]:
        """Everything that decides the cuts still to come, as JSON values."""
        return {"decided": self._next, "run": self._run and list(self._run)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state()`` was taken."""
        self._next, run = int(state["decided"]), state["run"]
        self._run = None if run is None else (int(run[0]), float(run[1]))

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

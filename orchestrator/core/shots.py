"""Shot detection around TransNetV2: windows, the gate in front of them, and cuts out of scores. Pure.

TransNetV2 (Soucek & Lokoc 2020, arXiv:2008.04838) scores windows of frames at 48x27 pixels; its reference inference shows it 100, of
which the middle 50 count, and pads the ends of the media by repeating the first and last frame. So do we, anchored at frame 0; but
of those 50 it is asked about the frames in doubt alone, and two neighbouring cores that both need it share a window.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.segmenting import Boundary

CORE = 50  # frames that a window decides
STEP = 25  # frames in doubt come in multiples of so many: a GPU prepares for each length of a window
LEAD = 25  # further frames that it shows at each end
LAG = 24  # frames over which a gradual transition shows itself
NEARBY = 8  # frames on each side that tell how much motion is usual
STILL = 0.5  # mean difference of a picture that stands still: noise of the codec
PLAIN_JUMP = 6.0  # how many times the usual difference a plain cut jumps by
APART = 12  # frames between a plain cut and any other jump
LATER, STAYS = (2, 4, 8), 0.8  # so many frames later a plain cut's new picture still differs by that share of the jump

Thumbnails = NDArray[np.uint8]
Frames = NDArray[np.int16]
Steps = NDArray[np.float64]
Cuts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says of consecutive frames: the first frames of new shots that are plain, and the frames ``[start, end)`` of which only
    the model can tell (``None``: of none).
    """

    cuts: Cuts = ()
    doubt: tuple[int, int] | None = None

    def without(self, start: int, end: int) -> Verdict:
        """The same, but for frames ``[start, end)``, which are in doubt now."""
        return Verdict(tuple(cut for cut in self.cuts if not start < cut <= end), (start, end))

    def moved(self, frames: int) -> Verdict:
        """The same, ``frames`` later."""
        doubt = None if self.doubt is None else (self.doubt[0] + frames, self.doubt[1] + frames)
        return Verdict(tuple(cut + frames for cut in self.cuts), doubt)


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides from the thumbnails alone what a window holds, where that is plain, so that such frames need no model.

    A hard cut is a jump: ``step`` is the least mean absolute difference (0..255) of neighbouring frames that counts as one, if it is also
    ``jump`` times the usual difference nearby (motion is as large, but lasts). A gradual transition changes the colours: ``drift`` is
    the least distance (0..1) between the histograms of 4 x 4 x 4 colours of frames that lie ``LAG`` apart. Zero thresholds call for the
    model at any change at all. On the clips of the tests true cuts jump by 3.4 times or more and dissolves drift by 0.36 or more,
    while motion stays below 2.2 and 0.1; the defaults keep a distance from both.

    A cut is plain when its jump is at least ``sure`` and ``PLAIN_JUMP`` times the usual, no other lies within ``APART`` frames, the
    new picture stays (a flash does not), and nothing drifts between the jumps. Else the model is asked, about the frames within
    ``APART`` of such a jump and those that drift. With ``sure`` of 0 every cut is the model's to find, in all of the window.
    What that saves, and costs, stands in ``ops/performance.md``.
    """

    step: float
    jump: float
    drift: float
    sure: float = 0.0

    def judge(self, thumbnails: Thumbnails, core: slice = slice(None)) -> Verdict:
        """What ``core`` of consecutive ``thumbnails`` ``[n, 27, 48, 3]`` holds: hard cuts whose last frame of the old shot is in it, and
        drifts that reach into it.
        """
        asked = range(len(thumbnails))[core]
        if len(thumbnails) < 2:
            return Verdict()
        frames = thumbnails.astype(np.int16)
        steps, usual = _steps(frames)
        found = np.flatnonzero((steps > self.step) & (steps > self.jump * usual)) + 1
        cuts = [int(cut) for cut in found if cut - 1 in asked]
        if not self.sure:
            return Verdict((), (asked.start, asked.stop) if cuts or self._drifting(thumbnails) else None)
        plain = {cut for cut in cuts if self._is_plain(cut, frames, steps, usual, found)}
        doubts = [(cut - APART, cut + APART) for cut in cuts if cut not in plain]
        for start, end in itertools.pairwise([0, *found, len(frames)]):
            if drift := self._drifting(thumbnails[start:end]):
                doubts.append((start + drift[0], start + drift[1]))
        reached = [(max(start, asked.start), min(end, asked.stop)) for start, end in doubts]
        reached = [(start, end) for start, end in reached if start < end]
        if not reached:
            return Verdict(tuple(sorted(plain)))
        return Verdict(tuple(sorted(plain))).without(min(start for start, _ in reached), max(end for _, end in reached))

    def _is_plain(self, cut: int, frames: Frames, steps: Steps, usual: Steps, found: NDArray[np.int64]) -> bool:
        step = steps[cut - 1]
        if step < self.sure or step < PLAIN_JUMP * usual[cut - 1]:
            return False
        if np.any((found != cut) & (np.abs(found - cut) < APART)):
            return False
        end = min((other for other in found if other > cut), default=len(frames))
        later = [cut + after for after in LATER if cut + after < end]
        return all(np.abs(frames[at] - frames[cut - 1]).mean() >= STAYS * step for at in later)

    def _drifting(self, thumbnails: Thumbnails) -> tuple[int, int] | None:
        """From where to where the colours drift."""
        if len(thumbnails) < 2:
            return None
        levels = (thumbnails >> 6).astype(np.int64)
        colours = (levels[..., 0] * 16 + levels[..., 1] * 4 + levels[..., 2]).reshape(len(thumbnails), -1)
        shares = np.stack([np.bincount(frame, minlength=64) for frame in colours]) / colours.shape[1]
        lag = min(LAG, len(shares) - 1)
        found = np.flatnonzero(np.abs(shares[lag:] - shares[:-lag]).sum(axis=1) / 2 > self.drift)
        return (int(found[0]), int(found[-1]) + lag + 1) if len(found) else None


def _steps(frames: Frames) -> tuple[Steps, Steps]:
    """Mean absolute difference of each frame to the next, and what is usual around it (never less than ``STILL``)."""
    steps = np.abs(frames[1:] - frames[:-1]).mean(axis=(1, 2, 3))
    usual = [float(np.median(steps[max(0, at - NEARBY) : at + NEARBY + 1])) for at in range(len(steps))]
    return steps, np.maximum(usual, STILL)


@dataclass(frozen=True, slots=True)
class Window:
    """Decides frames ``[core_start, core_end)`` by ``verdict``; the model is shown those in doubt, and ``LEAD`` frames more at each end."""

    core_start: int
    core_end: int
    verdict: Verdict = Verdict()

    def shown(self, frames: int) -> NDArray[np.int64]:
        """The frames that the model is shown, repeated at the ends of a media of ``frames`` frames; none where nothing is in doubt."""
        if self.verdict.doubt is None:
            return np.zeros(0, np.int64)
        start, end = self.verdict.doubt
        return np.clip(np.arange(start - LEAD, end + LEAD), 0, frames - 1)

    def scores(self, answer: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Of its core: 1 at the last frame of each old shot whose cut is plain, the model's ``answer`` (to all that it was shown) where
        there was doubt, else 0.
        """
        made = np.zeros(self.core_end - self.core_start, np.float32)
        made[[cut - 1 - self.core_start for cut in self.verdict.cuts]] = 1.0
        if self.verdict.doubt is not None and answer is not None:
            start, end = self.verdict.doubt
            made[start - self.core_start : end - self.core_start] = answer[LEAD:-LEAD]
        return made

    def seen_by_gate(self, frames: int) -> tuple[int, int, slice]:
        """What the gate compares: frames ``[start, end)``, and which of them are the core's.

        A gradual transition with its middle in the core shows itself half of ``LAG`` around it.
        """
        start, end = max(0, self.core_start - LAG // 2), min(frames, self.core_end + LAG // 2 + 1)
        return start, end, slice(self.core_start - start, self.core_end - start)

    def rounded(self) -> Window:
        """The same, with further frames of its core in doubt until they are a multiple of ``STEP``."""
        if self.verdict.doubt is None:
            return self
        start, end = self.verdict.doubt
        frames = -(-(end - start) // STEP) * STEP
        end = min(start + frames, self.core_end)
        return replace(self, verdict=self.verdict.without(end - frames, end))

    def joined(self, other: Window) -> Window:
        """One window for both; ``other`` is the next one, and both are in doubt."""
        first, second = self.verdict, other.verdict
        assert first.doubt is not None
        assert second.doubt is not None
        verdict = Verdict((*first.cuts, *second.cuts)).without(first.doubt[0], second.doubt[1])
        return Window(self.core_start, other.core_end, verdict)


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

    def windows(self, frames: int, judge: Callable[[Window], Verdict]) -> list[Window]:
        """The windows that decide its frames, in order, each with its verdict. Two are one where that shows the model fewer frames."""
        judged = [replace(core, verdict=judge(core)) for core in self.cores if core.core_start < frames]
        match [window.verdict.doubt for window in judged]:
            case [(_, end), (start, _)] if start - end < 2 * LEAD:
                judged = [judged[0].joined(judged[1])]
        return [window.rounded() for window in judged]


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

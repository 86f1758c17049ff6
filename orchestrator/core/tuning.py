"""Tuning a model's config: which settings are tried, what one measurement says, and when a setting has won. Pure arithmetic.

A *contender* is measured against the *champion* in rounds: both run in each, by turns first, and what counts is the median of the
rounds' ratios. The champion stays unless it is beaten beyond noise, so that tuning never ends with less than it began with.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

MARGIN = 0.01  # part of a rate, or of CPU a frame, below which a difference is no reason to change anything
NOISY = 0.03  # a margin beyond which rates that look equal are not known to be
MEMORY_MARGIN = 0.05
CHANCE = 0.05  # of so many rounds of two equals to agree
FEWEST = 2  # rounds, before a contender is given up as hopeless
FURTHER = 3  # rounds, where those asked for leave a promising contender in doubt
DELAYS_US = (0, 500, 2000)


@dataclass(frozen=True, slots=True)
class Setting:
    """What of a config is measured: model ``instances`` of ``threads`` each (0: ONNX Runtime's choice), the most rows of a request
    (``batch``), how long Triton waits for requests to merge (``delay_us``; ``None``: it merges none), whether idle threads spin, and
    whether ONNX Runtime plans its memory by the first run's shapes.
    """

    instances: int
    threads: int
    batch: int
    delay_us: int | None = None
    spinning: bool = False
    planned_memory: bool = True

    def __post_init__(self) -> None:
        if min(self.instances, self.batch) < 1 or self.threads < 0 or (self.delay_us or 0) < 0:
            raise ValueError(f"a setting has instances, a batch, and a delay that is not negative, got {self}")

    def __str__(self) -> str:
        spun = " spinning" if self.spinning else ""
        said = [
            f"{self.instances} x {self.threads or 'auto'} thread{'s' * (self.threads != 1)}{spun}",
            f"batch {self.batch}",
        ]
        said += [] if self.delay_us is None else [f"merged within {self.delay_us} us"]
        return ", ".join([*said, *([] if self.planned_memory else ["memory unplanned"])])


@dataclass(frozen=True, slots=True)
class Space:
    """Where settings may lie. ``cores``: those of this machine; instances x threads exceed them twice at most. ``pictures``: the most
    rows that a request is ever given; ``batchable``: requests have one shape, so that more of them may share one.
    """

    cores: int
    pictures: int
    batchable: bool = True

    def neighbours(self, at: Setting) -> Iterator[Setting]:
        """The settings one step away from ``at``, those that tend to matter most first."""
        yield from self._placements(at)
        if self.batchable:
            yield from self._batches(at)
        yield replace(at, planned_memory=not at.planned_memory)

    def _placements(self, at: Setting) -> Iterator[Setting]:
        threads = at.threads or self.cores
        steps = [(at.instances * 2, threads // 2), (at.instances // 2, threads * 2), (at.instances * 2, threads)]
        steps += [(at.instances, threads * 2), (at.instances // 2, threads), (at.instances, threads // 2)]
        for instances, each in steps:
            if instances and each and instances * each <= 2 * self.cores:
                yield replace(at, instances=instances, threads=each, spinning=at.spinning and each > 1)
        if at.threads != 1:
            yield replace(at, spinning=not at.spinning)

    def _batches(self, at: Setting) -> Iterator[Setting]:
        if at.delay_us is None:
            if at.batch < self.pictures:
                yield replace(at, batch=at.batch * 2)
            if at.batch > 1:
                yield replace(at, batch=at.batch // 2)
                yield replace(at, batch=at.batch * 2, delay_us=DELAYS_US[0])  # there must be room for a second request
            return
        if at.batch > 1:
            yield replace(at, batch=at.batch // 2, delay_us=None)
        yield from (replace(at, delay_us=delay) for delay in DELAYS_US if delay != at.delay_us)


@dataclass(frozen=True, slots=True)
class Run:
    """One analysis: ``frames`` answered in ``wall`` seconds for ``cpu`` seconds of the whole process tree, which holds ``memory`` bytes."""

    frames: int
    wall: float
    cpu: float
    memory: int

    def __post_init__(self) -> None:
        if min(self.frames, self.wall, self.cpu, self.memory) <= 0:
            raise ValueError(f"a run answers frames and takes time, CPU and memory, got {self}")

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.wall

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per frame."""
        return self.cpu / self.frames * 1e3


class Standing(Enum):
    """How ratios, of which more is better, stand to 1."""

    BETTER = "better"
    EVEN = "even"
    UNCLEAR = "unclear"
    WORSE = "worse"


def standing(ratios: Sequence[float], margin: float) -> Standing:
    """By the median: ``EVEN`` within ``margin`` of 1; beyond it ``UNCLEAR`` unless so many rounds agree that equals would hardly."""
    middle = statistics.median(ratios)
    if abs(middle - 1) < margin:
        return Standing.EVEN
    above = sum(ratio > 1 for ratio in ratios)
    agreeing = above if middle > 1 else len(ratios) - above
    if _by_chance(len(ratios), len(ratios) - agreeing) > CHANCE:
        return Standing.UNCLEAR
    return Standing.BETTER if middle > 1 else Standing.WORSE


def _by_chance(rounds: int, dissenting: int) -> float:
    """How likely at most ``dissenting`` of ``rounds`` fair coins fall the other way."""
    return float(sum(math.comb(rounds, count) for count in range(dissenting + 1)) / 2**rounds)


class Verdict(Enum):
    """What a duel came to, for the contender."""

    FASTER = "faster"
    CHEAPER = "as fast, for less CPU"
    SMALLER = "as fast and cheap, in less memory"
    KEPT = "not better beyond noise"
    SLOWER = "slower"

    @property
    def won(self) -> bool:
        """Whether the contender is the better one."""
        return self in (Verdict.FASTER, Verdict.CHEAPER, Verdict.SMALLER)


@dataclass(slots=True)
class Duel:
    """The rounds of a contender against the champion. ``rounds``: how many are asked for; ``margin``: see ``standing``; ``to_the_end``:
    all of them and no more, whatever they say.
    """

    rounds: int = 5
    margin: float = MARGIN
    to_the_end: bool = False
    runs: list[tuple[Run, Run]] = field(default_factory=list)

    def add(self, contender: Run, champion: Run) -> None:
        """One round's runs."""
        self.runs.append((contender, champion))

    @property
    def rates(self) -> list[float]:
        """Frames/s over the champion's, by round."""
        return [contender.rate / champion.rate for contender, champion in self.runs]

    @property
    def cpus(self) -> list[float]:
        """CPU a frame over the champion's: less is better."""
        return [contender.cpu_ms / champion.cpu_ms for contender, champion in self.runs]

    @property
    def memories(self) -> list[float]:
        """Memory over the champion's: less is better."""
        return [contender.memory / champion.memory for contender, champion in self.runs]

    @property
    def medians(self) -> tuple[float, float, float]:
        """Of rates, CPU a frame and memory, over the champion's."""
        return statistics.median(self.rates), statistics.median(self.cpus), statistics.median(self.memories)

    @property
    def over(self) -> bool:
        """Whether no further round is needed: it is hopeless, all rounds asked for were run, or even further ones leave doubt."""
        done = len(self.runs)
        if done < self.rounds or self.to_the_end:
            return self._hopeless or done >= self.rounds
        unclear = standing(self.rates, self.margin) is Standing.UNCLEAR
        return done >= self.rounds + FURTHER * (unclear and statistics.median(self.rates) > 1)

    @property
    def verdict(self) -> Verdict:
        """Frames/s decide; among equals, where this machine can tell them, CPU a frame, then memory. In doubt the champion stays."""
        rate = standing(self.rates, self.margin)
        if self._hopeless or rate is Standing.WORSE:
            return Verdict.SLOWER
        if rate is not Standing.EVEN:
            return Verdict.FASTER if rate is Standing.BETTER else Verdict.KEPT
        if self.margin > NOISY:
            return Verdict.KEPT
        cpu = standing([1 / ratio for ratio in self.cpus], self.margin)
        if cpu is not Standing.EVEN:
            return Verdict.CHEAPER if cpu is Standing.BETTER else Verdict.KEPT
        memory = standing([1 / ratio for ratio in self.memories], MEMORY_MARGIN)
        return Verdict.SMALLER if memory is Standing.BETTER else Verdict.KEPT

    @property
    def _hopeless(self) -> bool:
        return not self.to_the_end and len(self.runs) >= FEWEST and max(self.rates) < 1 - self.margin


class Climb:
    """Hill climbing from ``best``: its neighbours are proposed one after the other, and the first that wins is where it goes on from.
    No setting is proposed twice, and no more than ``trials`` are.
    """

    def __init__(self, start: Setting, space: Space, trials: int) -> None:
        self.best = start
        self._space, self._left = space, trials
        self._seen = {start}
        self._queue = deque(space.neighbours(start))

    def propose(self) -> Setting | None:
        """The next contender to ``best``; ``None``: there is none better to be found from here."""
        while self._queue and self._left:
            setting = self._queue.popleft()
            if setting not in self._seen:
                self._seen.add(setting)
                self._left -= 1
                return setting
        return None

    def won(self, setting: Setting) -> None:
        """``setting`` has beaten ``best``: the search goes on from there."""
        self.best = setting
        self._queue = deque(self._space.neighbours(setting))

"""The whole of a tuning: the present config against itself, then against its neighbours, and the winner against it once more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.cli.tuning.bench import READY_S, Bench, Contender, Told
from orchestrator.core.tuning import MARGIN, Climb, Duel, Run, Setting, Space
from orchestrator.errors import InferenceUnavailable

FIRST_RUN_S = 900.0  # patience with the first run, which tells how long others take
PATIENCE = 10.0  # times the present config's run

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """``profiles``: the same work at rising rates. A run takes ``seconds`` at least; duels have ``rounds``; no more than ``trials``."""

    profiles: Sequence[str]
    seconds: float
    rounds: int
    trials: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A contender, what it was measured against, and how that went; ``lost``: why it could not be measured to the end."""

    setting: Setting
    champion: Setting
    duel: Duel
    lost: str = ""

    @property
    def won(self) -> bool:
        """Whether it is better beyond noise."""
        return not self.lost and self.duel.verdict.won

    @property
    def said(self) -> str:
        """The verdict in words."""
        return self.lost or self.duel.verdict.value

    @property
    def typical(self) -> Run:
        """Its run of the middle rate."""
        return sorted((contender for contender, _ in self.duel.runs), key=lambda run: run.rate)[
            len(self.duel.runs) // 2
        ]


@dataclass
class Tuning:
    """What was measured: ``control`` is the present config against itself, ``confirmation`` the winner against it, over fresh rounds."""

    start: Setting
    profile: str
    repeats: int
    control: Trial
    margin: float
    trials: list[Trial] = field(default_factory=list)
    confirmation: Trial | None = None

    @property
    def best(self) -> Setting:
        """The present setting, unless another has beaten it twice."""
        return self.confirmation.setting if self.confirmation is not None and self.confirmation.won else self.start


class _Lost(Exception):
    """A contender cannot go on: why."""


class Tuner:
    """Tunes over ``bench``. Raises ``InferenceUnavailable`` when the present config itself cannot be measured."""

    def __init__(self, bench: Bench, space: Space, plan: Plan, say: Say) -> None:
        self._bench, self._space, self._plan, self._say = bench, space, plan, say
        self._profile, self._repeats, self._patience_s, self._answers = plan.profiles[0], 1, FIRST_RUN_S, ""

    async def tune(self) -> Tuning:
        """Measure; this takes minutes."""
        start = self._bench.base.setting
        champion = await self._bench.start(start)
        try:
            await champion.ready()
            await self._pace(champion)
            control = await self._trial(Duel(self._plan.rounds, to_the_end=True), start, champion)
            if control.lost:
                raise InferenceUnavailable(f"the present config cannot be measured against itself: {control.lost}")
            margin = max(MARGIN, *(abs(median - 1) for median in control.duel.medians[:2]))
            self._say(f"against itself: {sum_up(control)}; what differs by less than {margin:.1%} counts as equal")
            made = Tuning(start, self._profile, self._repeats, control, margin)
            climb = Climb(start, self._space, self._plan.trials)
            while (setting := climb.propose()) is not None:
                trial = await self._trial(Duel(self._plan.rounds, margin), setting, champion)
                made.trials.append(trial)
                self._say(f"{setting}: {sum_up(trial)}")
                if trial.won:
                    climb.won(setting)
                    await champion.stop()
                    champion = await self._bench.start(setting)
                    await champion.ready()
                    await self._run(champion)
            if climb.best != start:
                made.confirmation = await self._confirm(Duel(self._plan.rounds, margin), champion, start)
                self._say(f"{climb.best} against the present config: {sum_up(made.confirmation)}")
            return made
        finally:
            await champion.stop()

    async def _pace(self, champion: Contender) -> None:
        """Choose the work so that a run takes its seconds. These runs warm the champion up."""
        for profile in self._plan.profiles:
            self._profile = profile
            told = await self._run(champion)
            if told.run.wall >= self._plan.seconds:
                break
        if (short := self._plan.seconds / told.run.wall) > 1:
            self._repeats = math.ceil(short)
        told = await self._run(champion)
        self._patience_s, self._answers = READY_S + PATIENCE * told.run.wall, told.answers
        self._say(
            f"present config, {self._bench.base.setting}: {told.run.rate:.1f} frames/s, {told.run.cpu_ms:.2f} CPU ms a frame, "
            f"{told.run.wall:.1f} s a run"
        )

    async def _trial(self, duel: Duel, setting: Setting, champion: Contender) -> Trial:
        """A contender's duel; one that cannot be loaded, does not answer, or answers otherwise has lost it."""
        contender = await self._bench.start(setting)
        try:
            await self._warm(contender)
            while not duel.over:
                duel.add(*await self._round(contender, champion, len(duel.runs)))
        except _Lost as lost:
            return Trial(setting, champion.setting, duel, str(lost))
        finally:
            await contender.stop()
        return Trial(setting, champion.setting, duel)

    async def _confirm(self, duel: Duel, winner: Contender, start: Setting) -> Trial:
        """What won among many trials may have had luck: the winner against the present config, in fresh rounds."""
        present = await self._bench.start(start)
        try:
            await present.ready()
            await self._run(present)
            while not duel.over:
                duel.add(*await self._round(winner, present, len(duel.runs)))
        except _Lost as lost:
            return Trial(winner.setting, start, duel, str(lost))
        finally:
            await present.stop()
        return Trial(winner.setting, start, duel)

    async def _round(self, contender: Contender, champion: Contender, number: int) -> tuple[Run, Run]:
        """Both, by turns first."""
        if number % 2:
            reference = await self._run(champion)
            return (await self._checked(contender)).run, reference.run
        told = await self._checked(contender)
        return told.run, (await self._run(champion)).run

    async def _warm(self, contender: Contender) -> None:
        try:
            await contender.ready()
        except InferenceUnavailable as error:
            raise _Lost(str(error)) from error
        await self._checked(contender)

    async def _checked(self, contender: Contender) -> Told:
        """A run that must give the answers of the present config, to the bit."""
        try:
            told = await self._run(contender)
        except InferenceUnavailable as error:
            raise _Lost(str(error)) from error
        if told.answers != self._answers:
            raise _Lost("its answers are not those of the present config")
        return told

    async def _run(self, contender: Contender) -> Told:
        return await contender.run(self._profile, self._repeats, self._patience_s)


def sum_up(trial: Trial) -> str:
    """A trial in a line."""
    if not trial.duel.runs:
        return f"lost: {trial.said}"
    rate, cpu, memory = trial.duel.medians
    rounds = len(trial.duel.runs)
    return f"frames/s x {rate:.3f}, CPU a frame x {cpu:.3f}, memory x {memory:.2f} in {rounds} rounds: {trial.said}"

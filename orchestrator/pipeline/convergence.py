"""What goes on beside the steps: the model server is brought to the wanted state, and versions on trial are judged.

The wanted state is the store's. It changes by our own steps, by those of another server over the same store, and by nothing while
this process was dead; so whatever died where, the next round finds what is wanted, and does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from orchestrator.core.rollout import Budgets, Hit, Rail, Role, Rollout, judge, since
from orchestrator.errors import ReelsiftError
from orchestrator.pipeline.rollouts import RolloutService

LOADING = (Rail.FILES, Rail.LOAD)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between two looks at the store, between two judgements, and for how long a promoted version is watched as a candidate is,
    while there is a way back. ``longest``: between two looks while something cannot be loaded."""

    every_s: float = 1.0
    judge_s: float = 0.5
    watch_s: float = 600.0
    longest_s: float = 30.0


@dataclass(slots=True)
class Keeper:
    """Keeps the model server at what ``rollouts`` are to be."""

    rollouts: RolloutService
    budgets: Budgets = field(default_factory=Budgets)
    pace: Pace = field(default_factory=Pace)
    _promoted: dict[str, tuple[int, datetime | None]] = field(default_factory=dict)  # at which revision that was read
    _told: set[tuple[str, int, Rail]] = field(default_factory=set)

    async def start(self) -> None:
        """Direct analyses as the store says, before the first of them begins; what is not loaded yet, ``run`` sees to. Raises
        ``StoreUnavailable``."""
        if self.rollouts.server.managed:
            self.rollouts.served.direct(await self.rollouts.store.rollouts())

    async def run(self) -> None:
        """Work until cancelled: trouble is logged, and the next round tries again."""
        if self.rollouts.server.managed:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forever(self.converge, self.rollouts.served.changed, self.pace.every_s))
                group.create_task(self._forever(self.judge, asyncio.Event(), self.pace.judge_s))

    async def converge(self) -> bool:
        """One round: load, direct, and roll back the candidates that cannot be loaded. Whether everything wanted is there."""
        served = self.rollouts.served
        rollouts = await self.rollouts.store.rollouts()
        # Who may be directed at once does not wait for what others have to load.
        served.direct({name: each for name, each in rollouts.items() if served.has(name, each.stable)})
        rollouts, refused = await self.rollouts.load()
        served.direct(rollouts)
        for rollout in rollouts.values():
            await self._remember_promotion(rollout)
        self._told = {key for key in self._told if key[2] not in LOADING or key[:2] in refused}
        for (model, version), hit in refused.items():
            if rollouts[model].role(version) is Role.CANDIDATE:
                await self.rollouts.turn_away(model, version, hit)
            else:
                self._tell(model, version, hit)
        return not refused

    async def judge(self) -> None:
        """Roll back every version on trial, and every one that was promoted a short while ago, that has hit a rail."""
        server = self.rollouts.server
        for rollout in list(self.rollouts.served.rollouts.values()):
            for version, other in self._trials(rollout):
                hit = judge(
                    server.measured(rollout.model, version), server.measured(rollout.model, other), self.budgets
                )
                if hit is None:
                    continue
                if version != rollout.stable or self.rollouts.served.has(rollout.model, other):
                    await self.rollouts.turn_away(rollout.model, version, hit)
                else:  # there is no way back to a version that is not there
                    self._tell(rollout.model, version, hit)

    def _trials(self, rollout: Rollout) -> Iterator[tuple[int, int]]:
        """The versions to judge, each with the one that would take over."""
        if rollout.candidate is not None:
            yield rollout.candidate.version, rollout.stable
        if rollout.previous is not None:
            _, promoted = self._promoted.get(rollout.model, (0, None))
            if promoted is not None and self.rollouts.now() - promoted < timedelta(seconds=self.pace.watch_s):
                yield rollout.stable, rollout.previous

    async def _remember_promotion(self, rollout: Rollout) -> None:
        revision, _ = self._promoted.get(rollout.model, (0, None))
        if revision != rollout.revision:
            moments = since(rollout, await self.rollouts.store.history(rollout.model))
            self._promoted[rollout.model] = (rollout.revision, moments.get(rollout.stable))

    def _tell(self, model: str, version: int, hit: Hit) -> None:
        """Once, as long as it goes on."""
        if (model, version, hit.rail) not in self._told:
            self._told.add((model, version, hit.rail))
            log.error("rollout.unfit", model=model, version=version, rail=hit.rail.value, detail=hit.detail)

    async def _forever(self, work: Callable[[], Awaitable[object]], sooner: asyncio.Event, every: float) -> None:
        pause = every
        while True:
            sooner.clear()
            fine = False
            try:
                fine = await work() is not False
            except ReelsiftError as error:
                log.warning("rollout.waits", reason=error.reason, message=str(error))
            except Exception:
                log.exception("rollout.unexpected_error")  # whoever keeps the models must not die of it
            pause = every if fine else min(2 * pause, self.pace.longest_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await sooner.wait()

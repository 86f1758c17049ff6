"""Rollouts at work: steps that people ask for, and what becomes of them.

A step is committed to the store first, and only then directed: so what Triton is asked for is never ahead of the truth, and whoever
dies in between finds on its return what was wanted. Several servers may share a store: of two steps at once one is refused.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from orchestrator import failpoints
from orchestrator.core.model_versions import ModelState, VersionInfo, VersionState
from orchestrator.core.rollout import Action, Hit, IllegalStep, Rollout, Stage, Step, since
from orchestrator.errors import (
    InferenceUnavailable,
    InvalidRequest,
    NotFound,
    NotManaged,
    RolloutStepRefused,
    VersionRejected,
)
from orchestrator.pipeline.model_ports import ModelServer, RailHit, RolloutStore
from orchestrator.pipeline.served import Served
from orchestrator.pipeline.telemetry import Telemetry

Change = Callable[[Rollout], tuple[Rollout, int]]
"""From the present state to the next, and the version that the step is about. Raises ``IllegalStep``."""

GONE = "the repository does not hold it"

log = structlog.get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class RolloutService:
    """Implements ``api.ports.Rollouts``. A ``version`` of 0 is the one that is in question."""

    def __init__(
        self,
        server: ModelServer,
        store: RolloutStore,
        *,
        clock: Callable[[], datetime] = _now,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.server, self.store, self.now = server, store, clock
        self._telemetry = telemetry or Telemetry()
        self.served = Served(server)
        self._name = f"reelsift@{socket.gethostname()}"

    # --- what people ask for ---

    async def stage(self, model: str, version: int, *, who: str, why: str) -> ModelState:
        """Examine ``version`` and have it as the candidate, which nobody hears yet. Raises ``VersionRejected`` for one that hits a rail,
        which the history tells too; ``NotFound``, ``RolloutStepRefused``, ``NotManaged``, ``InferenceUnavailable``."""
        self._check_managed()
        _legal(_staging(version), await self._current(model))  # before it is loaded and asked
        async with self.served.loading:
            try:
                evidence = await self.server.examine(model, version)
            except RailHit as turned_away:
                await self._refuse(model, version, turned_away.hit, who=who, why=why)
                raise _rejected(model, version, turned_away.hit) from turned_away
            finally:
                self.served.changed.set()  # what was loaded and is not wanted is to go
            self.served.holds(model, version)
            await self._commit(
                model, _staging(version), Action.STAGE, at="rollout.stage", who=who, why=why, evidence=evidence
            )
        return await self.model(model)

    async def shadow(self, model: str, share: float, *, who: str, why: str, version: int = 0) -> ModelState:
        """Ask the candidate for a share of the requests, and compare: nobody hears its answers."""
        change = _trial(Stage.SHADOW, share, version)
        return await self._step(model, change, Action.SHADOW, at="rollout.shadow", who=who, why=why, share=share)

    async def canary(self, model: str, share: float, *, who: str, why: str, version: int = 0) -> ModelState:
        """Let the candidate answer for a share of the analyses."""
        change = _trial(Stage.CANARY, share, version)
        return await self._step(model, change, Action.CANARY, at="rollout.canary", who=who, why=why, share=share)

    async def promote(self, model: str, *, who: str, why: str, version: int = 0) -> ModelState:
        """Make the candidate the stable version; the one before it stays loaded."""

        def change(state: Rollout) -> tuple[Rollout, int]:
            after = state.promoted(version or None)
            return after, after.stable

        return await self._step(model, change, Action.PROMOTE, at="rollout.promote", who=who, why=why)

    async def rollback(self, model: str, *, who: str, why: str, version: int = 0) -> ModelState:
        """Leave the candidate or, where there is none (or where it is named), the stable version for the one before it."""
        change = _leaving(version)
        return await self._step(model, change, Action.ROLLBACK, at="rollout.rollback", who=who, why=why)

    async def retire(self, model: str, version: int, *, who: str, why: str) -> ModelState:
        """Let the previous version go from memory."""

        def change(state: Rollout) -> tuple[Rollout, int]:
            return state.retired(version), version

        return await self._step(model, change, Action.RETIRE, at="rollout.retire", who=who, why=why)

    # --- what rails ask for ---

    async def turn_away(self, model: str, version: int, hit: Hit) -> None:
        """Roll ``version`` back by ourselves. Nothing happens when it is in question no more."""
        log.warning("rollout.rail_hit", model=model, version=version, rail=hit.rail.value, detail=hit.detail)
        try:
            await self._commit(
                model,
                _leaving(version),
                Action.ROLLBACK,
                at="rollout.turn_away",
                who=self._name,
                why=f"the rail {hit.rail.value}",
                hit=hit,
                automatic=True,
            )
        except RolloutStepRefused as error:
            log.info("rollout.nothing_to_roll_back", model=model, version=version, message=str(error))

    async def load(self) -> tuple[Mapping[str, Rollout], Mapping[tuple[str, int], Hit]]:
        """Have loaded what the store wants now; returns that, and what cannot be loaded. Raises ``InferenceUnavailable``."""
        async with self.served.loading:
            rollouts = await self.store.rollouts()
            return rollouts, await self.served.hold(rollouts)

    # --- what there is ---

    async def models(self) -> Sequence[ModelState]:
        """Every model of the repository, and every one that has had a rollout, by name."""
        rollouts = await self.store.rollouts()
        return [await self._state(name, rollouts) for name in sorted({*self.server.models(), *rollouts})]

    async def model(self, model: str) -> ModelState:
        """One of them. Raises ``NotFound``."""
        return await self._state(model, await self.store.rollouts())

    async def history(self, model: str, limit: int = 100, before: int | None = None) -> Sequence[Step]:
        """Its newest steps first, or those below a revision. Raises ``NotFound``."""
        steps = await self.store.history(model, limit, before)
        if not steps:
            self.server.default(model)
        return steps

    async def _state(self, model: str, rollouts: Mapping[str, Rollout]) -> ModelState:
        rollout = rollouts.get(model) or Rollout(model, self.server.default(model))
        try:
            found = {info.version: info for info in await self.server.versions(model)}
        except NotFound:
            found = {}
        for version in rollout.wanted:
            found.setdefault(version, VersionInfo(model, version, "", defect=GONE))
        moments = since(rollout, await self.store.history(model)) if rollout.revision else {}
        candidate = rollout.candidate
        return ModelState(
            model,
            rollout.revision,
            tuple(
                VersionState(
                    found[version],
                    rollout.role(version),
                    candidate.stage if candidate and candidate.version == version else None,
                    candidate.share if candidate and candidate.version == version else 0.0,
                    moments.get(version),
                    self.server.measured(model, version),
                    self.server.pinned(model, version),
                )
                for version in sorted(found)
            ),
        )

    # --- how a step is taken ---

    async def _step(
        self, model: str, change: Change, action: Action, *, at: str, who: str, why: str, share: float = 0.0
    ) -> ModelState:
        """Take a step. A version that is to answer from now on must be loaded already: nobody shall wait for it."""
        self._check_managed()
        before = await self._current(model)
        after, version = _legal(change, before)
        for needed in set(after.answering) - {before.stable}:
            if not self.served.has(model, needed):
                await self.load()
            if not self.served.has(model, needed):
                raise InferenceUnavailable(f"version {needed} of {model} cannot be loaded at present", model=model)
        await self._commit(model, _about(version, change), action, at=at, who=who, why=why, share=share)
        return await self.model(model)

    async def _refuse(self, model: str, version: int, hit: Hit, *, who: str, why: str) -> None:
        await self._commit(
            model,
            lambda state: (state.refused(), version),
            Action.STAGE,
            at="rollout.refuse",
            who=who,
            why=why,
            hit=hit,
        )

    async def _commit(
        self,
        model: str,
        change: Change,
        action: Action,
        *,
        at: str,
        who: str,
        why: str,
        share: float = 0.0,
        automatic: bool = False,
        hit: Hit | None = None,
        evidence: Mapping[str, float | str] | None = None,
    ) -> None:
        while True:
            after, version = _legal(change, await self._current(model))
            step = Step(
                model=model,
                revision=after.revision,
                action=action,
                version=version,
                stable=after.stable,
                at=self.now(),
                who=who,
                why=why,
                share=share,
                automatic=automatic,
                rail=hit.rail if hit else None,
                detail=hit.detail if hit else "",
                evidence=dict(hit.evidence if hit else evidence or {}),
            )
            failpoints.reach(f"{at}.before")
            if await self.store.step(after, step):
                break
        failpoints.reach(f"{at}.after")
        self.served.direct({model: after})
        self.served.changed.set()
        self._telemetry.stepped(model, action.value, automatic=automatic)
        log.info("rollout.step", model=model, action=action.value, version=version, stable=after.stable, who=who)

    async def _current(self, model: str) -> Rollout:
        return (await self.store.rollouts()).get(model) or Rollout(model, self.server.default(model))

    def _check_managed(self) -> None:
        if not self.server.managed:
            raise NotManaged("the models of this Triton are loaded by whoever runs it: there are no rollouts here")


def _legal(change: Change, state: Rollout) -> tuple[Rollout, int]:
    try:
        return change(state)
    except IllegalStep as error:
        raise RolloutStepRefused(str(error), model=state.model) from error
    except ValueError as error:
        raise InvalidRequest(str(error), model=state.model) from error


def _staging(version: int) -> Change:
    return lambda state: (state.staged(version), version)


def _trial(stage: Stage, share: float, version: int) -> Change:
    def change(state: Rollout) -> tuple[Rollout, int]:
        after = state.tried(stage, share, version or None)
        assert after.candidate is not None
        return after, after.candidate.version

    return change


def _leaving(version: int) -> Change:
    return lambda state: (state.rolled_back(version or None), state.leaving(version or None))


def _about(version: int, change: Change) -> Change:
    """``change``, as long as it is about ``version``: another may have come into question since it was asked for."""

    def same(state: Rollout) -> tuple[Rollout, int]:
        after, found = change(state)
        if found != version:
            raise IllegalStep(f"version {version} of {state.model} is in question no more, but version {found}")
        return after, found

    return same


def _rejected(model: str, version: int, hit: Hit) -> VersionRejected:
    return VersionRejected(
        f"version {version} of {model} is not fit to serve: {hit.detail}",
        model=model,
        version=version,
        rail=hit.rail.value,
    )

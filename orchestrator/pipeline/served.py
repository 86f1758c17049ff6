"""What the model server was told last: which versions it has, and which one answers for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.core.rollout import Hit, Rollout
from orchestrator.pipeline.model_ports import ModelServer


class Served:
    """The way to the model server that steps and loops share. ``loading``: one examination, or one round of loading, at a time;
    ``changed``: the wanted state may be another than a moment ago."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._held: set[tuple[str, int]] = set()
        self.rollouts: dict[str, Rollout] = {}
        self.loading = asyncio.Lock()
        self.changed = asyncio.Event()

    def holds(self, model: str, version: int) -> None:
        """Remember that ``version`` is loaded."""
        self._held.add((model, version))

    def has(self, model: str, version: int) -> bool:
        """Whether ``version`` is loaded, as far as is known."""
        return (model, version) in self._held

    async def hold(self, rollouts: Mapping[str, Rollout]) -> Mapping[tuple[str, int], Hit]:
        """Have loaded what ``rollouts`` want; returns what cannot be. ``loading`` must be held."""
        wanted = {(model, version) for model, rollout in rollouts.items() for version in rollout.wanted}
        refused = await self._server.hold({model: rollout.wanted for model, rollout in rollouts.items()})
        self._held = wanted - refused.keys()
        return refused

    def direct(self, rollouts: Mapping[str, Rollout]) -> None:
        """Let new pins follow ``rollouts``, other models what was said of them last. A state that is older than one that was
        directed already is ignored, and a candidate that is not loaded yet is not heard."""
        for model, rollout in rollouts.items():
            known = self.rollouts.get(model)
            if known is None or rollout.revision >= known.revision:
                self.rollouts[model] = rollout
        self._server.direct({model: self._audible(rollout) for model, rollout in self.rollouts.items()})

    def _audible(self, rollout: Rollout) -> Rollout:
        candidate = rollout.candidate
        heard = candidate is None or self.has(rollout.model, candidate.version)
        return rollout if heard else replace(rollout, candidate=None)

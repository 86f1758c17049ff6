"""What a server can do for clients, whether it can now, and on what it rests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from orchestrator.analyzers.registry import Names, available, select
from orchestrator.core.profiles import Profile
from orchestrator.core.statistics import Capability
from orchestrator.errors import ReelsiftError
from orchestrator.pipeline.control_ports import Condition, ModelConditions

Look = Callable[[], str]
"""Why something cannot be done now; empty when it can."""

_LEARNING = "it is being looked at"
_ANY_NS = 10**9  # of a profile's longest segment: no model depends on it

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Abilities:
    """``parts``: versions of the service and of what it rests on, Triton's excepted. ``looks`` by ability, for those that are no
    analyzers; ``embedding``: the model for texts, where they are embedded. ``learn`` once, before analyzers are told.
    """

    names: Names
    models: ModelConditions
    looks: Mapping[str, Look]
    parts: Mapping[str, str] = field(default_factory=dict)
    embedding: str = ""
    _models_of: dict[str, Sequence[str]] = field(default_factory=dict)
    _broken: dict[str, str] = field(default_factory=dict)

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the service and of what it rests on, by name."""
        return {**self.parts, **({"triton": release} if (release := self.models.release) else {})}

    async def learn(self) -> None:
        """Which models each analyzer asks. Importing their libraries takes a second; the loop goes on meanwhile."""
        await asyncio.to_thread(self._learn)

    def _learn(self) -> None:
        for name in sorted(available()):
            try:
                self._models_of[name] = select(Profile(name, "", _ANY_NS, {name: {}}), self.names).models
            except ReelsiftError as error:
                self._broken[name] = str(error)
            except OSError:
                self._broken[name] = "the labels of its model are missing: reelsift models export"
            except Exception:  # another package's, of which nothing is known
                log.exception("abilities.analyzer_broken", analyzer=name)
                self._broken[name] = "it cannot be loaded; the log says why"

    def capabilities(self) -> tuple[Capability, ...]:
        """Each of them, as it is now."""
        found = [self._of_models(name, self._models_of.get(name)) for name in sorted(available())]
        if self.embedding:
            found.append(self._of_models("text embedding", (self.embedding,)))
        for name, look in self.looks.items():
            why = look()
            found.append(Capability(name, not why, why))
        return tuple(found)

    def _of_models(self, name: str, models: Sequence[str] | None) -> Capability:
        if models is None:
            return Capability(name, False, self._broken.get(name, _LEARNING))
        conditions: dict[str, Condition] = {model: self.models.condition(model) for model in models}
        why = "; ".join(f"{model}: {each.why}" for model, each in conditions.items() if not each.ready)
        versions = {model: each.version for model, each in conditions.items() if each.version}
        return Capability(name, not why, why, versions)

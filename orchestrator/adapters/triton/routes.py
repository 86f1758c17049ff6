"""Which version of each model answers for whom. Pure: it knows rollouts and pins, and nothing of Triton but its names for versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.adapters.triton.repository import further, split
from orchestrator.core.rollout import Rollout


@dataclass(slots=True, eq=False)
class Pin:
    """What answers for one caller, as it was when it came: Triton's ``names`` by model, where a model has a rollout; the others answer
    under their own names. ``withdrawn``: models whose version was rolled back since."""

    key: str
    names: Mapping[str, str]
    withdrawn: set[str] = field(default_factory=set)

    def name(self, model: str) -> str:
        """Triton's name for what answers for ``model``."""
        return self.names.get(model, model)


def _nothing() -> None:
    pass


class Routes:
    """``direct`` says what new pins follow. ``released`` is called whenever a pin ends."""

    def __init__(self) -> None:
        self._rollouts: Mapping[str, Rollout] = {}
        self._defaults: dict[str, int] = {}
        self._stable: Mapping[str, str] = {}
        self._pins: set[Pin] = set()
        self.released: Callable[[], None] = _nothing

    def direct(self, rollouts: Mapping[str, Rollout], default: Callable[[str], int]) -> None:
        """Follow ``rollouts`` from now on; ``default`` tells the version that answers under a model's own name. Pins to a candidate that
        is wanted no more are withdrawn from, all others stay."""
        for model, old in self._rollouts.items():
            new = rollouts.get(model)
            if old.candidate is not None and new is not None and old.candidate.version not in new.wanted:
                name = self.name(model, old.candidate.version)
                for pin in self._pins:
                    if pin.name(model) == name:
                        pin.withdrawn.add(model)
        self._rollouts = dict(rollouts)
        self._defaults = {model: default(model) for model in rollouts}
        self._stable = {model: self.name(model, rollout.stable) for model, rollout in rollouts.items()}

    def name(self, model: str, version: int) -> str:
        """Triton's name for ``version`` of a ``model`` that has a rollout."""
        return model if version == self._defaults[model] else further(model, version)

    def stable(self, model: str) -> str:
        """Triton's name for the version that answers."""
        return self._stable.get(model, model)

    def wants(self, model: str, version: int) -> bool:
        """Whether the rollout of ``model`` is not done with ``version``."""
        rollout = self._rollouts.get(model)
        return rollout is None or version in rollout.wanted

    @contextmanager
    def pinned(self, key: str) -> Iterator[Pin]:
        """The versions that answer for ``key`` now; with an empty key the stable ones."""
        chosen = (
            {model: self.name(model, each.version_for(key)) for model, each in self._rollouts.items()} if key else {}
        )
        pin = Pin(key, chosen or self._stable)
        self._pins.add(pin)
        try:
            yield pin
        finally:
            self._pins.discard(pin)
            self.released()

    def users(self, name: str) -> int:
        """Callers that are pinned to Triton's ``name``, those of a single request too."""
        model, _ = split(name)
        return sum(pin.name(model) == name and model not in pin.withdrawn for pin in self._pins)

    def analyses(self, name: str) -> int:
        """Analyses that are pinned to Triton's ``name``."""
        model, _ = split(name)
        return sum(bool(pin.key) and pin.name(model) == name and model not in pin.withdrawn for pin in self._pins)

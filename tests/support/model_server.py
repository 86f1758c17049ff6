"""A model server in memory, for unit tests of rollouts and for tests of the API alone: what loads and what hits a rail is the test's
to say. It checks what the service promises of its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from orchestrator.core.model_versions import VersionInfo
from orchestrator.core.rollout import Budgets, Hit, Measured, Rollout, Step
from orchestrator.errors import InferenceUnavailable, NotFound
from orchestrator.pipeline.control_ports import Condition
from orchestrator.pipeline.model_ports import RailHit

Key = tuple[str, int]


def digest_of(model: str, version: int) -> str:
    return f"{hash((model, version)) & (1 << 64) - 1:064x}"


@dataclass
class FakeModelServer:
    """``repository``: versions by model, of which the first is the default; ``unfit``: what hits which rail; ``down``: Triton is away."""

    repository: dict[str, list[int]] = field(default_factory=lambda: {"labels": [1, 2, 3], "shots": [1, 2]})
    managed: bool = True
    unfit: dict[Key, Hit] = field(default_factory=dict)
    unloadable: dict[Key, Hit] = field(default_factory=dict)
    measures: dict[Key, Measured] = field(default_factory=dict)
    loaded: set[Key] = field(default_factory=set)
    directed: dict[str, Rollout] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    early: set[Key] = field(default_factory=set)  # what was directed before it was loaded
    down: bool = False
    gate: asyncio.Event | None = None
    _loading: bool = False

    budgets: Budgets = field(default_factory=Budgets)
    release: str = "2.0"

    def condition(self, model: str) -> Condition:
        if model not in self.repository:
            return Condition(False, "it is not exported")
        return Condition(not self.down, "Triton is away" if self.down else "", str(self.default(model)))

    def models(self) -> Sequence[str]:
        return sorted(self.repository)

    def default(self, model: str) -> int:
        if model not in self.repository:
            raise NotFound(f"there is no model {model}", model=model)
        return self.repository[model][0]

    async def versions(self, model: str) -> Sequence[VersionInfo]:
        self.default(model)
        return [
            VersionInfo(
                model,
                version,
                digest_of(model, version),
                licence="Apache-2.0",
                parity={"scores": 0.25},
                nbytes=1 << 20,
                loaded=(model, version) in self.loaded,
            )
            for version in self.repository[model]
        ]

    async def examine(self, model: str, version: int) -> Mapping[str, float | str]:
        self.calls.append(f"examine {model} {version}")
        with self._alone():
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            self._answer()
            if version not in self.repository.get(model, ()):
                raise NotFound(f"there is no version {version} of {model}", model=model)
            if hit := self.unfit.get((model, version)) or self.unloadable.get((model, version)):
                self.loaded.discard((model, version))
                raise RailHit(hit)
            self.loaded.add((model, version))
            return {"scores": 0.001}

    async def hold(self, wanted: Mapping[str, Sequence[int]]) -> Mapping[Key, Hit]:
        self.calls.append("hold")
        with self._alone():
            await asyncio.sleep(0)
            self._answer()
            keys = {(model, version) for model, versions in wanted.items() for version in versions}
            refused = {key: hit for key, hit in self.unloadable.items() if key in keys}
            self.loaded = keys - refused.keys()
            return refused

    def direct(self, rollouts: Mapping[str, Rollout]) -> None:
        self.calls.append("direct")
        asked = {(model, version) for model, rollout in rollouts.items() for version in rollout.answering}
        self.early |= {(model, version) for model, version in asked - self.loaded if version != self.default(model)}
        self.directed = dict(rollouts)

    def measured(self, model: str, version: int) -> Measured:
        return self.measures.get((model, version), Measured())

    def pinned(self, model: str, version: int) -> int:
        return int((model, version) in self.loaded)

    def version_for(self, model: str, key: str) -> int:
        """Which version a new analysis would be pinned to."""
        rollout = self.directed.get(model)
        return self.default(model) if rollout is None else rollout.version_for(key)

    def goes_bad(self, model: str, version: int, **changes: float) -> None:
        """From now on ``version`` is measured so, and its siblings are well."""
        fine = Measured(1000, 0, 0.01, 0.02, 300 << 20, 280 << 20, 500, 0)
        for each in self.repository[model]:
            self.measures.setdefault((model, each), fine)
        self.measures[model, version] = replace(fine, **changes)  # type: ignore[arg-type]

    def _answer(self) -> None:
        if self.down:
            raise InferenceUnavailable("Triton is away")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        assert not self._loading, "examine and hold never run at the same time"
        self._loading = True
        try:
            yield
        finally:
            self._loading = False


class MemoryRollouts:
    """A rollout store in memory."""

    def __init__(self) -> None:
        self._rollouts: dict[str, Rollout] = {}
        self._steps: dict[str, list[Step]] = {}

    async def rollouts(self) -> Mapping[str, Rollout]:
        return dict(self._rollouts)

    async def step(self, rollout: Rollout, step: Step) -> bool:
        known = self._rollouts.get(rollout.model)
        if rollout.revision - 1 != (known.revision if known else 0):
            return False
        self._rollouts[rollout.model] = rollout
        self._steps.setdefault(rollout.model, []).insert(0, step)
        return True

    async def history(self, model: str, limit: int = 100, before: int | None = None) -> Sequence[Step]:
        steps = self._steps.get(model, [])
        return [step for step in steps if before is None or step.revision < before][:limit]

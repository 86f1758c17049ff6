"""What rollouts need from the world: the versions that Triton serves, and a place where their wanted state is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from orchestrator.core.model_versions import VersionInfo
from orchestrator.core.rollout import Budgets, Hit, Measured, Rollout, Step
from orchestrator.pipeline.control_ports import Condition

__all__ = ["ModelServer", "RailHit", "RolloutStore", "VersionInfo"]


class RailHit(Exception):
    """A version was examined, and hit a rail. Nothing of it is loaded any more."""

    def __init__(self, hit: Hit) -> None:
        super().__init__(hit.detail)
        self.hit = hit


class ModelServer(Protocol):
    """Versions of models in Triton. Which one answers for whom is what ``direct`` said last; without it, the repository's own choice.
    ``budgets`` of examinations may be exchanged."""

    budgets: Budgets

    @property
    def release(self) -> str:
        """Triton's own version; empty before it has answered."""
        ...

    def condition(self, model: str) -> Condition:
        """Whether ``model`` can be asked now."""
        ...

    @property
    def managed(self) -> bool:
        """Whether versions can be loaded and unloaded: not in a Triton that others run."""
        ...

    def models(self) -> Sequence[str]:
        """The models of the repository."""
        ...

    def default(self, model: str) -> int:
        """The version that the repository's own config names. Raises ``NotFound``."""
        ...

    async def versions(self, model: str) -> Sequence[VersionInfo]:
        """What the repository holds of ``model``, oldest first. Raises ``NotFound``."""
        ...

    async def examine(self, model: str, version: int) -> Mapping[str, float | str]:
        """Check the files of ``version``, load it, and ask it: golden inputs must have the answers that they had at export, within
        latency and memory budgets beside the stable version's. It stays loaded. Returns what was measured. Raises ``RailHit``;
        ``NotFound``; ``InferenceUnavailable`` when Triton itself is away."""
        ...

    async def hold(self, wanted: Mapping[str, Sequence[int]]) -> Mapping[tuple[str, int], Hit]:
        """Have exactly these further versions loaded (models not named keep to their default, on demand); one that is no longer wanted is
        unloaded once no analysis is pinned to it. Returns the rail of each version that cannot be loaded; the others are held all the
        same. Cheap when nothing has changed. Never called while ``examine`` runs, nor the reverse. Raises ``InferenceUnavailable``
        when Triton itself is away."""
        ...

    def direct(self, rollouts: Mapping[str, Rollout]) -> None:
        """From now on new pins, and shadows, follow these. A pin to a candidate that was rolled back fails its requests with
        ``VersionWithdrawn`` (retryable): its analysis goes on, from its checkpoint, with the stable one. Other pins keep their version."""
        ...

    def measured(self, model: str, version: int) -> Measured:
        """What its requests have come to; zeros for a version that was never asked."""
        ...

    def pinned(self, model: str, version: int) -> int:
        """How many analyses are pinned to it."""
        ...


@runtime_checkable
class Versioned(Protocol):
    """An ``Inference`` whose ``models`` may be managed; ``None`` where they are not."""

    models: ModelServer | None


class RolloutStore(Protocol):
    """The truth of rollouts: what ``step`` has returned is on disk."""

    async def rollouts(self) -> Mapping[str, Rollout]:
        """The wanted state of every model that has ever had a step."""
        ...

    async def step(self, rollout: Rollout, step: Step) -> bool:
        """Commit the state and its history entry together; false, and nothing changes, when the model is not at
        ``rollout.revision - 1`` any more (another was faster)."""
        ...

    async def history(self, model: str, limit: int = 100, before: int | None = None) -> Sequence[Step]:
        """The newest steps first; those below the revision ``before``, when it is given."""
        ...

"""The life of a model's versions in service: which one answers, which one is on trial, and what ends a trial. Pure.

    stage -> shadow -> canary -> promote          each step is optional but the first; rollback leads back from any of them

One version is *stable*: it answers. One more may be the *candidate*: loaded and examined (STAGED), asked beside the stable one
without being heard (SHADOW), or answering for a share of the analyses (CANARY). The stable version before the last promotion stays
loaded as *previous*, until it is retired, so that rolling back takes no time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise


class Stage(StrEnum):
    """How far a candidate has come."""

    STAGED = "STAGED"
    SHADOW = "SHADOW"
    CANARY = "CANARY"


class Action(StrEnum):
    """What a step does."""

    STAGE = "STAGE"
    SHADOW = "SHADOW"
    CANARY = "CANARY"
    PROMOTE = "PROMOTE"
    ROLLBACK = "ROLLBACK"
    RETIRE = "RETIRE"


class Rail(StrEnum):
    """What a version must not hit."""

    FILES = "FILES"  # digests, truncated or foreign files
    LOAD = "LOAD"  # it cannot be loaded, or its contract is another than the stable one's
    PARITY = "PARITY"  # its golden answers are others than at export
    LATENCY = "LATENCY"
    MEMORY = "MEMORY"
    ERRORS = "ERRORS"  # requests lost or refused, stubs that died
    AGREEMENT = "AGREEMENT"  # its answers are too far from the stable one's


class Role(StrEnum):
    """What a version is for now."""

    STABLE = "STABLE"
    CANDIDATE = "CANDIDATE"
    PREVIOUS = "PREVIOUS"
    AVAILABLE = "AVAILABLE"  # in the repository, and of no concern to Triton


class IllegalStep(ValueError):
    """A step that the state does not allow; the message says why."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The version on trial. ``share``: of the requests (SHADOW) or of the analyses (CANARY), 0 while STAGED."""

    version: int
    stage: Stage = Stage.STAGED
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError(f"versions count from 1, got {self.version}")
        if not 0 <= self.share <= 1 or (self.stage is Stage.STAGED) != (self.share == 0):
            raise ValueError(f"a share lies above 0 and at most at 1, and a staged version has none; got {self.share}")


@dataclass(frozen=True, slots=True)
class Rollout:
    """The wanted state of one model. ``revision`` counts its steps: 0 before the first.

    A step may name the ``version`` that its caller means, and is illegal when that is not the one in question any more: so that nobody
    promotes, or rolls back, what came up meanwhile.
    """

    model: str
    stable: int
    candidate: Candidate | None = None
    previous: int | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        others = (self.candidate.version if self.candidate else None, self.previous)
        if self.stable < 1 or self.revision < 0 or self.stable in others:
            raise ValueError(f"a stable version is one from 1 on, and no other version as well; got {self}")

    @property
    def wanted(self) -> tuple[int, ...]:
        """The versions that are to be loaded, the stable one first."""
        further = (self.candidate.version if self.candidate else None, self.previous)
        return tuple(dict.fromkeys([self.stable, *(version for version in further if version is not None)]))

    @property
    def answering(self) -> tuple[int, ...]:
        """The versions that are asked, whether or not they are heard: the stable one, and a candidate that is tried."""
        tried = self.candidate is not None and self.candidate.stage is not Stage.STAGED
        return (self.stable, self.candidate.version) if self.candidate and tried else (self.stable,)

    def role(self, version: int) -> Role:
        """What ``version`` is for."""
        if version == self.stable:
            return Role.STABLE
        if self.candidate is not None and version == self.candidate.version:
            return Role.CANDIDATE
        return Role.PREVIOUS if version == self.previous else Role.AVAILABLE

    def version_for(self, key: str) -> int:
        """The version that answers for the analysis ``key``: always the same one for the same state, and with a larger share the
        candidate keeps those that it has."""
        candidate = self.candidate
        if candidate is None or candidate.stage is not Stage.CANARY:
            return self.stable
        return candidate.version if _place(f"{self.model}/{candidate.version}/{key}") < candidate.share else self.stable

    def staged(self, version: int) -> Rollout:
        """With ``version`` as the candidate. Raises ``IllegalStep``."""
        if version == self.stable:
            raise IllegalStep(f"version {version} of {self.model} is the stable one already")
        if self.candidate is not None:
            raise IllegalStep(
                f"version {self.candidate.version} of {self.model} is on trial already; roll it back or promote it"
            )
        return self._next(candidate=Candidate(version))

    def refused(self) -> Rollout:
        """As it is: a version was examined, and did not become the candidate."""
        return self._next()

    def tried(self, stage: Stage, share: float, version: int | None = None) -> Rollout:
        """With the candidate in ``stage`` (SHADOW or CANARY). Raises ``IllegalStep``; ``ValueError`` for a share that is none."""
        return self._next(candidate=replace(self._candidate(version), stage=stage, share=share))

    def promoted(self, version: int | None = None) -> Rollout:
        """With the candidate as the stable version. Raises ``IllegalStep``."""
        return self._next(stable=self._candidate(version).version, candidate=None, previous=self.stable)

    def leaving(self, version: int | None = None) -> int:
        """The version that ``rolled_back`` leaves. Raises ``IllegalStep``."""
        possible = [] if self.candidate is None else [self.candidate.version]
        possible += [] if self.previous is None else [self.stable]
        if version in possible:
            return version
        if version is not None:
            raise IllegalStep(f"version {version} of {self.model} is neither on trial nor promoted over another")
        if not possible:
            raise IllegalStep(f"{self.model} has no candidate, and no earlier version to go back to")
        return possible[0]

    def rolled_back(self, version: int | None = None) -> Rollout:
        """Without the candidate; where there is none, or where the stable version is named, with the one before the last promotion.
        Raises ``IllegalStep``."""
        if self.leaving(version) != self.stable or self.previous is None:
            return self._next(candidate=None)
        candidate = self.candidate
        if candidate is not None and candidate.version == self.previous:
            candidate = None
        return self._next(stable=self.previous, previous=None, candidate=candidate)

    def retired(self, version: int) -> Rollout:
        """Without ``version``, the previous one, in memory: there is no way back from then on. Raises ``IllegalStep``."""
        role = self.role(version)
        if role in (Role.STABLE, Role.CANDIDATE):
            raise IllegalStep(f"version {version} of {self.model} is in use; promote another or roll back first")
        if role is Role.AVAILABLE:
            raise IllegalStep(f"version {version} of {self.model} is not kept in memory; there is nothing to retire")
        return self._next(previous=None)

    def _candidate(self, version: int | None) -> Candidate:
        if self.candidate is None:
            raise IllegalStep(f"no version of {self.model} is on trial; stage one first")
        if version not in (None, self.candidate.version):
            raise IllegalStep(f"version {self.candidate.version} of {self.model} is on trial, not version {version}")
        return self.candidate

    def _next(self, **changes: object) -> Rollout:
        return replace(self, revision=self.revision + 1, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a model's history. ``version``: which one it is about; ``stable``: which one is stable behind it.

    With a ``rail`` the version was turned away: at its examination (STAGE), which leaves everything as it was, or later (ROLLBACK).
    ``detail`` says in words how, ``evidence`` what was measured, by name.
    """

    model: str
    revision: int
    action: Action
    version: int
    stable: int
    at: datetime
    who: str
    why: str
    share: float = 0.0
    automatic: bool = False
    rail: Rail | None = None
    detail: str = ""
    evidence: Mapping[str, float | str] = field(default_factory=dict)


def since(rollout: Rollout, history: Sequence[Step]) -> Mapping[int, datetime]:
    """When each version took the part that it has, by ``history`` (newest first). Left out is a version that has had it from the
    beginning, or for longer than ``history`` goes back."""
    found: dict[int, datetime] = {}
    for step, before in pairwise(history):
        if step.stable != before.stable:
            found = {version: step.at for version in (rollout.stable, rollout.previous) if version is not None}
            break
    if rollout.candidate is not None:
        version = rollout.candidate.version
        if own := [step.at for step in history if step.version == version]:
            found[version] = own[0]
    return found


@dataclass(frozen=True, slots=True)
class Measured:
    """What one version's requests have come to since it was loaded, or since ``reset``. Times are seconds from asking to the answer."""

    requests: int = 0
    failures: int = 0
    p50_s: float = 0.0
    p95_s: float = 0.0
    resident_bytes: int = 0
    """Of its processes now."""
    resident_first_bytes: int = 0
    """Of its processes when it had warmed up."""
    compared: int = 0
    """Answers compared with the stable version's."""
    disagreed: int = 0


@dataclass(frozen=True, slots=True)
class Budgets:
    """What a candidate may cost. Ratios are to the stable version. Latency and agreement are judged on ``least`` requests or more,
    failures on ``failures`` or more."""

    least: int = 20
    error_rate: float = 0.02
    failures: int = 3
    latency_ratio: float = 1.5
    latency_slack_s: float = 0.05
    memory_ratio: float = 1.5
    memory_slack_bytes: int = 256 << 20
    growth_bytes: int = 128 << 20
    """More than that since it had warmed up is a leak."""
    disagreement: float = 0.05


@dataclass(frozen=True, slots=True)
class Hit:
    """A rail that was hit, in words and numbers."""

    rail: Rail
    detail: str
    evidence: Mapping[str, float | str] = field(default_factory=dict)


def judge(candidate: Measured, stable: Measured, budgets: Budgets) -> Hit | None:
    """The first rail that the candidate hits, the worst first."""
    seen = {"requests": float(candidate.requests), "failures": float(candidate.failures)}
    if candidate.failures >= budgets.failures and candidate.failures > budgets.error_rate * candidate.requests:
        return Hit(Rail.ERRORS, f"{candidate.failures} of {candidate.requests} requests failed", seen)
    grown = candidate.resident_bytes - candidate.resident_first_bytes
    if candidate.resident_first_bytes and grown > budgets.growth_bytes:
        return Hit(Rail.MEMORY, f"its processes grew by {grown >> 20} MiB", seen | {"grown_bytes": float(grown)})
    most = stable.resident_bytes * budgets.memory_ratio + budgets.memory_slack_bytes
    if stable.resident_bytes and candidate.resident_bytes > most:
        detail = f"its processes take {candidate.resident_bytes >> 20} MiB, the stable version's {stable.resident_bytes >> 20}"
        return Hit(Rail.MEMORY, detail, seen | {"resident_bytes": float(candidate.resident_bytes)})
    if candidate.compared >= budgets.least and candidate.disagreed > budgets.disagreement * candidate.compared:
        detail = f"{candidate.disagreed} of {candidate.compared} answers differ from the stable version's"
        return Hit(Rail.AGREEMENT, detail, seen | {"disagreed": float(candidate.disagreed)})
    enough = candidate.requests >= budgets.least and stable.requests >= budgets.least
    if enough and candidate.p95_s > stable.p95_s * budgets.latency_ratio + budgets.latency_slack_s:
        detail = f"95 % of its answers come within {candidate.p95_s:.3f} s, of the stable version's within {stable.p95_s:.3f} s"
        return Hit(Rail.LATENCY, detail, seen | {"p95_s": candidate.p95_s, "stable_p95_s": stable.p95_s})
    return None


def _place(text: str) -> float:
    """A number in [0, 1) that depends on nothing but ``text``."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / (1 << 56)

"""Versions of models as somebody sees them who looks: what the repository holds, and what each is for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.core.rollout import Measured, Role, Stage


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A version that the model repository holds, by its manifest. ``parity``: largest error over its tolerance, by output, as measured
    at export; ``defect``: what is wrong with its files, empty if nothing is."""

    model: str
    version: int
    digest: str
    precision: str = "fp32"
    target: str = "onnx"
    licence: str = ""
    created: str = ""
    parity: Mapping[str, float] = field(default_factory=dict)
    nbytes: int = 0
    loaded: bool = False
    defect: str = ""


@dataclass(frozen=True, slots=True)
class VersionState:
    """A version and its part. ``stage`` and ``share`` of a candidate; ``since``: when it took its part, ``None`` from the beginning;
    ``analyses``: how many are pinned to it."""

    info: VersionInfo
    role: Role
    stage: Stage | None = None
    share: float = 0.0
    since: datetime | None = None
    measured: Measured = field(default_factory=Measured)
    analyses: int = 0


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model. ``revision``: how many steps its rollouts have had; ``versions``: oldest first."""

    model: str
    revision: int
    versions: tuple[VersionState, ...]

"""What operating the service needs from the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.core.jobs import AnalysisRecord
from orchestrator.core.statistics import Stats


@dataclass(frozen=True, slots=True)
class AtWork:
    """A running analysis as the store knows it. ``owner`` of its lease; ``progressed``: when it was begun, or committed a segment since.
    ``media_ns``: the length of the media behind its committed segments.
    """

    record: AnalysisRecord
    owner: str
    progressed: datetime
    media_ns: int = 0


class StatisticsStore(Protocol):
    """The past of analyses, summed up. Raises ``StoreUnavailable``."""

    async def stats(self, hours: float, until: datetime, profile: str = "") -> Stats:
        """Of the analyses that ended within the ``hours`` before ``until``: of one profile, where it is named."""
        ...

    async def running(self) -> Sequence[AtWork]:
        """Every running analysis of the store."""
        ...

    async def forget(self, before: datetime) -> int:
        """Forget what ended before; returns how many analyses that were."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether a model can be asked now, and why not. ``version`` that answers, where it is known."""

    ready: bool
    why: str = ""
    version: str = ""


class ModelConditions(Protocol):
    """What answers for models. ``release``: its own version, once it is known."""

    @property
    def release(self) -> str:
        """Empty before it has answered."""
        ...

    def condition(self, model: str) -> Condition:
        """How ``model`` is."""
        ...


class AlwaysThere:
    """Models without a server, inside this process."""

    release = ""

    def condition(self, model: str) -> Condition:
        """Ready."""
        return Condition(True)

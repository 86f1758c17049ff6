"""Which settings change while the service runs, and how each is put in force. All others need a restart (``reloading.py``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.adapters.sources.sources import Sources
from orchestrator.core.media import DecodeLimits
from orchestrator.errors import InvalidRequest
from orchestrator.pipeline.attempt import Parts
from orchestrator.pipeline.cleanup import Cleaner
from orchestrator.pipeline.convergence import Keeper, Pace
from orchestrator.pipeline.service import AnalysisService, ServiceLimits
from orchestrator.reloading import Apply, Reloads
from orchestrator.settings import Settings


def service_limits(settings: Settings) -> ServiceLimits:
    """As the application service knows them."""
    return ServiceLimits(settings.max_running, settings.max_waiting, settings.max_interruptions, settings.stuck_seconds)


def decode_limits(settings: Settings) -> DecodeLimits:
    """As decoders know them."""
    return DecodeLimits(settings.max_frame_pixels, settings.max_decode_seconds)


def pace(settings: Settings) -> Pace:
    """As the keeper of the models knows it."""
    return Pace(watch_s=settings.rollout.watch_seconds)


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a running service that take other settings. ``sources`` are those of ``parts``."""

    service: AnalysisService
    parts: Parts
    sources: Sources
    cleaner: Cleaner
    keeper: Keeper | None

    def register(self, reloads: Reloads) -> None:
        """Have them hear of new settings."""

        def on(*names: str, apply: Callable[[Settings], None]) -> None:
            reloads.on(names, lambda new: lambda: apply(new))

        on(
            "max_running",
            "max_waiting",
            "max_interruptions",
            "stuck_seconds",
            apply=lambda new: self.service.limit(service_limits(new)),
        )
        on("roots", "max_upload_bytes", apply=lambda new: self.sources.allow(new.roots, new.max_upload_bytes))
        on("max_frame_pixels", "max_decode_seconds", apply=self._limit_decoding)
        on("retention", apply=self._keep)
        on("rollout", apply=self._judge)
        on("drain_seconds", apply=lambda new: None)  # it is read when it is needed
        reloads.on(("disk_low_bytes", "disk_high_bytes"), self._disk)
        reloads.on(("profile_dir",), self._profiles, always=True)

    def _limit_decoding(self, new: Settings) -> None:
        self.parts.limits = decode_limits(new)

    def _keep(self, new: Settings) -> None:
        self.cleaner.policies = new.retention.policies()

    def _judge(self, new: Settings) -> None:
        if self.keeper is not None:
            self.keeper.budgets = self.keeper.rollouts.server.budgets = new.rollout.budgets()
            self.keeper.pace = pace(new)

    def _disk(self, new: Settings) -> Apply:
        low, high = new.disk_low_bytes, new.disk_high_bytes
        if low >= high:
            raise InvalidRequest(f"disk_low_bytes must be below disk_high_bytes, got {low} and {high}")
        return lambda: self.parts.disk.limit(low, high)

    def _profiles(self, new: Settings) -> Apply | None:
        """What lies in the folder may have changed, too. An analysis that has begun keeps the profile that it began with."""
        try:
            found = load_profiles(new.profile_dir)
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest("the profiles cannot be read") from error
        if found == self.parts.profiles:
            return None

        def apply() -> None:
            self.parts.profiles = found

        return apply

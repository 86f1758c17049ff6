"""Settings that change while the service runs.

Whoever can change a setting at run time registers it with ``Reloads.on``; every other one needs a restart. A reload happens as a
whole or not at all: all that could refuse is asked first, and what is applied then cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from orchestrator.errors import InvalidRequest
from orchestrator.settings import Settings

Apply = Callable[[], None]
Prepare = Callable[[Settings], Apply | None]
"""Given the new settings, returns what puts them in force, or ``None`` when nothing has changed. Raises ``InvalidRequest``."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Reloads:
    """``settings`` in force. ``load`` reads them anew; it raises ``InvalidRequest`` for settings that are none."""

    settings: Settings
    load: Callable[[], Settings]
    _prepare: list[tuple[tuple[str, ...], Prepare, bool]] = field(default_factory=list)

    def on(self, names: Sequence[str], prepare: Prepare, *, always: bool = False) -> None:
        """Have ``prepare`` called when one of the settings ``names`` changes; at every reload, when ``always`` (what they name, a folder
        say, may have changed)."""
        if unknown := set(names) - set(type(self.settings).model_fields):
            raise ValueError(f"there are no settings {sorted(unknown)}")
        self._prepare.append((tuple(names), prepare, always))

    @property
    def names(self) -> frozenset[str]:
        """The settings that can change at run time."""
        return frozenset(name for names, _, _ in self._prepare for name in names)

    def reload(self, *, who: str, why: str) -> Sequence[str]:
        """Read the settings anew; returns the names of those that changed, and hold from now on. Raises ``InvalidRequest``: then nothing
        has changed."""
        try:
            new = self.load()
            changed = {name for name in type(new).model_fields if getattr(new, name) != getattr(self.settings, name)}
            if fixed := sorted(changed - self.names):
                raise InvalidRequest(f"only a restart changes {', '.join(fixed)}", setting=fixed[0])
            ready = self._prepared(new, changed)
        except InvalidRequest as error:
            log.error("settings.refused", message=str(error), who=who, why=why)
            raise
        for names, apply in ready:
            apply()
            changed.update(names)
        self.settings = new
        log.warning("settings.reloaded", names=sorted(changed), who=who, why=why)
        return tuple(sorted(changed))

    def _prepared(self, new: Settings, changed: set[str]) -> list[tuple[tuple[str, ...], Apply]]:
        ready: list[tuple[tuple[str, ...], Apply]] = []
        for names, prepare, always in self._prepare:
            mine = changed.intersection(names)
            if (mine or always) and (apply := prepare(new)) is not None:
                ready.append((tuple(mine or names), apply))
        return ready


def unchanging(settings: Settings) -> Reloads:
    """For a service whose settings nobody changes."""
    return Reloads(settings, lambda: settings)

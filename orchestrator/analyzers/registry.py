"""Which analyzers exist: those of the entry-point group ``reelsift.analyzers``, ours and other packages' alike.

An entry point is a factory ``(options, names) -> analyzer``: ``options`` are the analyzer's table of the profile,
``names(model)`` gives a model's labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from orchestrator.analyzers.base import Analyzer
from orchestrator.analyzers.shots import Shots
from orchestrator.core.frames import Tap
from orchestrator.core.profiles import OptionValue, Profile
from orchestrator.errors import ProfileError

GROUP = "reelsift.analyzers"

Names = Callable[[str], Sequence[str]]
Factory = Callable[[Mapping[str, OptionValue], Names], Any]
OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True, slots=True)
class Selection:
    """The analyzers of one analysis. Without ``shots`` segments are cut by length alone."""

    shots: Shots | None
    analyzers: tuple[Analyzer[Any], ...]

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Every distinct tap; analyzers with equal taps share one."""
        taps = [self.shots.tap] if self.shots else []
        return tuple(dict.fromkeys([*taps, *(analyzer.tap for analyzer in self.analyzers)]))

    @property
    def models(self) -> tuple[str, ...]:
        """Every model needed, those of the first segment's slowest analyzer first."""
        shots = self.shots.models if self.shots else ()
        return tuple(dict.fromkeys([*shots, *(model for analyzer in self.analyzers for model in analyzer.models)]))

    @property
    def names(self) -> tuple[str, ...]:
        """Names, shots first."""
        return (*([self.shots.name] if self.shots else []), *(analyzer.name for analyzer in self.analyzers))


@cache
def available() -> Mapping[str, Any]:
    """Entry points by name. Looking for them reads every installed package's list: once is enough."""
    return {point.name: point for point in entry_points(group=GROUP)}


def select(profile: Profile, names: Names) -> Selection:
    """Build the analyzers of ``profile``. Raises ``ProfileError`` for an unknown analyzer or option."""
    points = available()
    shots: Shots | None = None
    analyzers: list[Analyzer[Any]] = []
    for name, options in profile.analyzers.items():
        if name not in points:
            raise ProfileError(f"there is no analyzer {name!r}; there are {', '.join(sorted(points))}", analyzer=name)
        built = points[name].load()(options, names)
        if isinstance(built, Shots):
            shots = built
        else:
            analyzers.append(built)
    return Selection(shots, tuple(analyzers))


def parse_options(kind: type[OptionsT], analyzer: str, options: Mapping[str, OptionValue]) -> OptionsT:
    """``options`` as a ``kind`` (a dataclass). Raises ``ProfileError`` for an unknown key, a wrong type or a value
    out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in fields:
            raise ProfileError(
                f"analyzer {analyzer!r} has no option {key!r}; it has {', '.join(fields)}", analyzer=analyzer
            )
        wanted = type(fields[key].default)
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise ProfileError(f"analyzer {analyzer!r}: {key} is a {wanted.__name__}, got {value!r}", analyzer=analyzer)
        values[key] = value
    try:
        return kind(**values)
    except ValueError as error:
        raise ProfileError(f"analyzer {analyzer!r}: {error}", analyzer=analyzer) from error

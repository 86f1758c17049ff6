"""Profiles: named sets of analyzers with their settings, written in TOML. Pure parsing.

description = "what it is for"
max_segment = 10.0            # seconds
[analyzers.labels]            # one table per analyzer; keys are the analyzer's options
fps = 1
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

OptionValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Profile:
    """A named selection of analyzers. ``analyzers`` maps a name to its options, in the order of the file."""

    name: str
    description: str
    max_segment_ns: int
    analyzers: Mapping[str, Mapping[str, OptionValue]]

    def __post_init__(self) -> None:
        if not self.analyzers:
            raise ValueError(f"profile {self.name!r} names no analyzer")
        if not 1_000_000_000 <= self.max_segment_ns <= 3600_000_000_000:
            raise ValueError(f"profile {self.name!r}: max_segment is 1..3600 s, got {self.max_segment_ns / 1e9} s")

    def only(self, names: tuple[str, ...]) -> Profile:
        """The same settings for ``names`` alone; an analyzer that the profile lacks comes with its defaults."""
        chosen = {name: self.analyzers.get(name, MappingProxyType({})) for name in names}
        return Profile(self.name, self.description, self.max_segment_ns, chosen)


def parse_profile(name: str, text: str) -> Profile:
    """Parse one profile. Raises ``ValueError`` (``tomllib.TOMLDecodeError`` included) with the rule that was broken."""
    data = tomllib.loads(text)
    unknown = set(data) - {"description", "max_segment", "analyzers"}
    if unknown:
        raise ValueError(f"profile {name!r}: unknown keys {sorted(unknown)}")
    tables = data.get("analyzers", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ValueError(f"profile {name!r}: [analyzers.NAME] tables are expected")
    return Profile(
        name=name,
        description=str(data.get("description", "")),
        max_segment_ns=int(float(data.get("max_segment", 10.0)) * 1e9),
        analyzers={key: MappingProxyType(dict(table)) for key, table in tables.items()},
    )

"""Every awkward media that the service must answer for: sound but unusual, damaged, hostile.

``CASES`` maps a name to its :class:`~tests.media.case.Case`. Everything is generated on first use, small, and
the same each time.
"""

from __future__ import annotations

from tests.media import damaged_cases, hostile_cases, sound_cases
from tests.media.case import Case


def _by_name(cases: list[Case]) -> dict[str, Case]:
    named = {case.name: case for case in cases}
    if len(named) != len(cases):
        raise ValueError("two cases share a name")
    return named


SOUND = _by_name(sound_cases.cases())
DAMAGED = _by_name(damaged_cases.cases())
HOSTILE = _by_name(hostile_cases.cases())
CASES = _by_name([*SOUND.values(), *DAMAGED.values(), *HOSTILE.values()])
GOOD = SOUND["plain"]
"""What must be analysed identically after each other case."""

"""Everything that is said about two versions of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.comparing import faces, labels, moderation, objects, shots, similarity, text
from orchestrator.comparing.answers import Answer, Both
from orchestrator.comparing.differences import Difference
from orchestrator.comparing.measures import Measures
from orchestrator.comparing.truth import Truth
from orchestrator.errors import InvalidRequest

Judged = Sequence[tuple[Answer, Truth]]


class _Analyzer(Protocol):
    @property
    def accuracy(self) -> Callable[[Judged], Measures]: ...
    @property
    def agreement(self) -> Callable[[Sequence[Both]], Measures]: ...
    @property
    def differences(self) -> Callable[[Both], Iterator[Difference]]: ...


ANALYZERS: Mapping[str, _Analyzer] = {
    "shots": shots,
    "labels": labels,
    "similarity": similarity,
    "moderation": moderation,
    "objects": objects,
    "text": text,
    "faces": faces,
}


@dataclass(frozen=True, slots=True)
class Findings:
    """Of one analyzer. ``accuracy`` of A and of B (both empty where no truth speaks of it), their agreement, and all differences."""

    analyzer: str
    accuracy: tuple[Measures, Measures]
    agreement: Measures
    differences: tuple[Difference, ...]


def compare(both: Sequence[Both], truths: Mapping[str, Truth]) -> tuple[Findings, ...]:
    """What is found of each analyzer that answered. ``truths``: by clip, where there is one.

    Raises ``InvalidRequest`` for a truth that was written for another clip.
    """
    for pair in both:
        truth = truths.get(pair.clip)
        if truth is not None and truth.frames not in (None, pair.a.frames):
            raise InvalidRequest(f"{pair.clip} has {pair.a.frames} frames, its truth is of one with {truth.frames}")
    return tuple(_findings(name, both, truths) for name in ANALYZERS if any(name in pair.a.analyzers for pair in both))


def _findings(name: str, both: Sequence[Both], truths: Mapping[str, Truth]) -> Findings:
    analyzer = ANALYZERS[name]
    judged = [pair for pair in both if pair.clip in truths]
    found = [each for pair in both for each in analyzer.differences(pair)]
    return Findings(
        name,
        (
            analyzer.accuracy([(pair.a, truths[pair.clip]) for pair in judged]),
            analyzer.accuracy([(pair.b, truths[pair.clip]) for pair in judged]),
        ),
        analyzer.agreement(both),
        tuple(found),
    )

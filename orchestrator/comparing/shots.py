"""Cuts: found or not, to a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.comparing.answers import Answer, Both, Cut, Span
from orchestrator.comparing.differences import Difference, Side
from orchestrator.comparing.measures import Measures, alike, paired, retrieval
from orchestrator.comparing.truth import Truth

TOLERANCE = 1  # frames
BEFORE, AFTER = 3, 3  # frames of a strip, before the cut and from it on


def accuracy(judged: Sequence[tuple[Answer, Truth]]) -> Measures:
    """Precision, recall and F1 of the cuts, over the clips whose cuts are known. A dissolve is found by a cut inside it."""
    hits = found = wanted = 0
    for answer, truth in judged:
        if truth.cuts is None:
            continue
        spans = [*(Span(cut, cut + 1) for cut in truth.cuts), *truth.dissolves]
        hits += len(paired(answer.cuts, spans, _near, 0.0))
        found += len(answer.cuts)
        wanted += len(spans)
    return retrieval(hits, found, wanted) if found or wanted else {}


def agreement(both: Sequence[Both]) -> Measures:
    """F1 of the one version's cuts against the other's."""
    hits = sum(len(_shared(pair)) for pair in both)
    cuts = sum(len(pair.a.cuts) + len(pair.b.cuts) for pair in both)
    return {"same cuts": alike(2 * hits, cuts, of=cuts - hits)}


def differences(pair: Both) -> Iterator[Difference]:
    """Cuts that one version alone finds."""
    shared = _shared(pair)
    for version, answer, seen in (
        ("A", pair.a, {i for i, _ in shared}),
        ("B", pair.b, {j for _, j in shared}),
    ):
        for position, cut in enumerate(answer.cuts):
            if position not in seen:
                sides = (Side(cut=cut.frame), Side()) if version == "A" else (Side(), Side(cut=cut.frame))
                words = f"{version} alone cuts before frame {cut.frame}, score {cut.score:.2f}"
                yield Difference("shots", pair.clip, cut.frame, cut.score, words, *sides, _strip(cut, answer.frames))


def _strip(cut: Cut, frames: int) -> tuple[int, ...]:
    return tuple(range(max(0, cut.frame - BEFORE), min(frames, cut.frame + AFTER)))


def _shared(pair: Both) -> list[tuple[int, int]]:
    return paired(pair.a.cuts, [Span(cut.frame, cut.frame + 1) for cut in pair.b.cuts], _near, 0.0)


def _near(cut: Cut, span: Span) -> float:
    """0 or more where the cut belongs to ``span``; the nearer, the more."""
    outside = max(span.start - cut.frame, cut.frame - (span.end - 1), 0)
    return 1 - outside / TOLERANCE

"""Moderation: the right side of the threshold, and how far from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.comparing.answers import Answer, Both
from orchestrator.comparing.differences import Bar, Difference, Side
from orchestrator.comparing.measures import Measures, alike, mean, ratio
from orchestrator.comparing.truth import Truth

THRESHOLD = 0.5
LEAST = 0.05  # of the score; less is not worth a look


def accuracy(judged: Sequence[tuple[Answer, Truth]]) -> Measures:
    """Over the segments inside a span that was judged: those on the right side of ``THRESHOLD``, and the mean distance of the score from
    0 (safe) or 1."""
    right: list[bool] = []
    off: list[float] = []
    for answer, truth in judged:
        for segment in answer.segments:
            for known in truth.moderation:
                if segment.unsafe is not None and known.span.covers(segment.span):
                    right.append((segment.unsafe.score >= THRESHOLD) == known.unsafe)
                    off.append(abs(segment.unsafe.score - known.unsafe))
    if not right:
        return {}
    return {"accuracy": ratio(sum(right), len(right)), "mean error of the score": mean(off, rising=False)}


def agreement(both: Sequence[Both]) -> Measures:
    """Segments that both versions put on one side of ``THRESHOLD``, and the mean difference of the scores."""
    scores = [
        (a.unsafe.score, b.unsafe.score)
        for pair in both
        for a, b in pair.segments
        if a.unsafe is not None and b.unsafe is not None
    ]
    same = sum((a >= THRESHOLD) == (b >= THRESHOLD) for a, b in scores)
    return {
        "same side": alike(same, len(scores)),
        "mean difference of the score": mean([abs(a - b) for a, b in scores], rising=False),
    }


def differences(pair: Both) -> Iterator[Difference]:
    """Segments whose scores differ by ``LEAST`` or lie on different sides."""
    for a, b in pair.segments:
        if a.unsafe is None or b.unsafe is None:
            continue
        mine, theirs = a.unsafe.score, b.unsafe.score
        apart = (mine >= THRESHOLD) != (theirs >= THRESHOLD)
        if abs(mine - theirs) >= LEAST or apart:
            words = f"{'on another side of the threshold' if apart else 'the score moves'}, {mine:.2f} to {theirs:.2f}"
            frame = (a if mine >= theirs else b).unsafe
            assert frame is not None
            sides = (Side(bars=(Bar("unsafe", mine, apart),)), Side(bars=(Bar("unsafe", theirs, apart),)))
            yield Difference("moderation", pair.clip, frame.frame, abs(mine - theirs), words, *sides)

"""Labels of the whole picture: the first, and the first five."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.comparing.answers import Answer, Both
from orchestrator.comparing.differences import Bar, Difference, Side
from orchestrator.comparing.measures import Measures, alike, ratio
from orchestrator.comparing.truth import Truth

TOP = 5
LEAST = 0.02  # of all the score that a ranking moves; less is rounding, not news

Ranking = tuple[tuple[str, float], ...]


def accuracy(judged: Sequence[tuple[Answer, Truth]]) -> Measures:
    """Segments inside a labelled span whose best label is right, and those with a right one among five."""
    of = first = five = 0
    for answer, truth in judged:
        for segment in answer.segments:
            if segment.ranking is None:
                continue
            for known in truth.labels:
                if known.span.covers(segment.span):
                    right = [_is_any(label, known.any) for label, _ in segment.ranking[:TOP]]
                    of, first, five = of + 1, first + any(right[:1]), five + any(right)
    return {"top-1 accuracy": ratio(first, of), "top-5 accuracy": ratio(five, of)} if of else {}


def agreement(both: Sequence[Both]) -> Measures:
    """Segments with the same best label, the share of labels among five that both rank, and of the score that both give to one label."""
    rankings = [
        (a.ranking, b.ranking)
        for pair in both
        for a, b in pair.segments
        if a.ranking is not None and b.ranking is not None
    ]
    first = sum(_names(a)[:1] == _names(b)[:1] for a, b in rankings)
    shared = sum(len(set(_names(a)) & set(_names(b))) for a, b in rankings)
    most = sum(max(len(_names(a)), len(_names(b))) for a, b in rankings)
    still = sum(1 - moved(a, b) for a, b in rankings)
    return {
        "same top-1": alike(first, len(rankings)),
        "same among 5": alike(shared, most),
        "same score": alike(still, len(rankings)),
    }


def differences(pair: Both) -> Iterator[Difference]:
    """Segments that are ranked differently; ``size``: how much of the score moves."""
    for a, b in pair.segments:
        if a.ranking is None or b.ranking is None:
            continue
        size, mine, theirs = moved(a.ranking, b.ranking), _names(a.ranking), _names(b.ranking)
        if size >= LEAST or mine[:1] != theirs[:1]:
            led = f"{_best(mine)} becomes {_best(theirs)}"
            words = led if mine[:1] != theirs[:1] else f"{size:.0%} of the score moves"
            sides = (_side(a.ranking, theirs), _side(b.ranking, mine))
            yield Difference("labels", pair.clip, a.frame, size, words, *sides)


def moved(a: Ranking, b: Ranking) -> float:
    """Total variation of two rankings: the score that lies elsewhere, 0..1."""
    one, other = dict(a), dict(b)
    return sum(abs(one.get(label, 0.0) - other.get(label, 0.0)) for label in one | other) / 2


def _names(ranking: Ranking) -> list[str]:
    return [label for label, _ in ranking[:TOP]]


def _best(names: Sequence[str]) -> str:
    return names[0].partition(",")[0] if names else "nothing"


def _is_any(label: str, wanted: Sequence[str]) -> bool:
    """A class is named by all its synonyms ("tram, tramcar"), or by one."""
    return label in wanted or any(word.strip() in wanted for word in label.split(","))


def _side(ranking: Ranking, others: Sequence[str]) -> Side:
    return Side(bars=tuple(Bar(label, score, label not in others) for label, score in ranking[:TOP]))

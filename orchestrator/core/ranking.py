"""How what was found is ranked, explained and turned into pages. Pure.

Words and meaning are two rankings; reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009) joins them, because
their scores are not on one scale.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from orchestrator.core.documents import Document
from orchestrator.core.searching import Match, MatchKind, SearchQuery
from orchestrator.core.words import Phrase

DEPTH = 200  # best of each ranking that are joined, and so the depth of a search by text or look
LEAST_LIKENESS = 0.25  # cosine of texts below which they share no meaning worth showing
_K = 60  # of the fusion, as in the paper


@dataclass(frozen=True, slots=True)
class Mark:
    """What there was when a search began: later pages look at the same segments and vectors."""

    segments: int
    meanings: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next page begins: after ``shown`` ranked hits or, without a text or look, below row ``below``."""

    mark: Mark
    shown: int = 0
    below: int | None = None


def matches(document: Document, asked: Sequence[Phrase]) -> tuple[Match, ...]:
    """Which parts of ``document`` hold a phrase, strongest first."""
    found: dict[Match, float] = {}
    for phrase in asked:
        for item in document.classes:
            if quality := phrase.within(item.name):
                found[Match(item.kind, item.name, item.score)] = quality * item.score
        for line in document.lines:
            if quality := phrase.within(line.text):
                found[Match(MatchKind.TEXT, line.text, line.score)] = quality * line.score
    return tuple(sorted(found, key=lambda match: (-found[match], match.kind, match.matched)))


def word_score(document: Document, asked: Sequence[Phrase]) -> float:
    """How well ``document`` answers to the words, 0..1: first how many of the phrases it holds, then how surely."""
    total = 0.0
    for phrase in asked:
        parts = [(phrase.within(item.name), item.score) for item in document.classes]
        parts += [(phrase.within(line.text), line.score) for line in document.lines]
        total += max((quality * (1.0 + score) / 2.0 for quality, score in parts if quality), default=0.0)
    return total / len(asked) if asked else 0.0


def fuse(rankings: Sequence[Mapping[int, float]]) -> list[tuple[int, float]]:
    """Rows with their fused score, best first (the newer, which has the higher number, among equals).

    A ranking gives a row's score in it; equal scores share a rank.
    """
    fused: dict[int, float] = {}
    for ranking in rankings:
        rank = {score: place for place, score in enumerate(sorted(set(ranking.values()), reverse=True), 1)}
        for row, score in ranking.items():
            fused[row] = fused.get(row, 0.0) + 1.0 / (_K + rank[score])
    return sorted(fused.items(), key=lambda entry: (-entry[1], -entry[0]))


def strongest(ranking: Mapping[int, float], most: int = DEPTH) -> dict[int, float]:
    """The ``most`` rows of ``ranking`` with the best scores above 0."""
    best = sorted(ranking.items(), key=lambda entry: (-entry[1], -entry[0]))[:most]
    return {row: score for row, score in best if score > 0.0}


def write_token(cursor: Cursor, query: SearchQuery) -> str:
    """A page token: the cursor, bound to the query."""
    body = [cursor.mark.segments, cursor.mark.meanings, cursor.shown, cursor.below, _fingerprint(query)]
    return base64.urlsafe_b64encode(json.dumps(body, separators=(",", ":")).encode()).decode().rstrip("=")


def read_token(token: str, query: SearchQuery) -> Cursor:
    """The cursor of a token. Raises ``ValueError`` when it is none of ours, or of another query."""
    try:
        body = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True))
        segments, meanings, shown, below, fingerprint = body
    except (ValueError, TypeError, binascii.Error) as error:
        raise ValueError("this is no page token of a search") from error
    numbers = (segments, meanings, shown, *(() if below is None else (below,)))
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
        raise ValueError("this is no page token of a search")
    if fingerprint != _fingerprint(query):
        raise ValueError("this page token belongs to another search")
    return Cursor(Mark(segments, meanings), shown, below)


def _fingerprint(query: SearchQuery) -> str:
    return hashlib.sha256(json.dumps(asdict(query), sort_keys=True, default=str).encode()).hexdigest()[:16]

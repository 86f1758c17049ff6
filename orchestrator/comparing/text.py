"""On-screen text: lines found, and letters read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rapidfuzz.distance import Levenshtein

from orchestrator.comparing.answers import Answer, Both, Line, SegmentAnswer
from orchestrator.comparing.differences import Difference, Mark, Side
from orchestrator.comparing.measures import Measures, alike, paired, ratio, same_place
from orchestrator.comparing.truth import TrueLine, Truth

ONE_LINE = 0.5  # share of right letters from which a reading is one of a line at all
LINE_PLACE = 0.3  # IoU from which two readings are of one line, as in the analyzer


def accuracy(judged: Sequence[tuple[Answer, Truth]]) -> Measures:
    """Lines read at all, lines read without an error, and the character error rate: edits over letters, per line the mean over its
    readings; a line that nobody read counts in full."""
    lines = read = exact = letters = 0
    errors = 0.0
    for answer, truth in judged:
        readings = _readings(answer.lines, truth.text)
        for position, line in enumerate(truth.text):
            edits = [Levenshtein.distance(reading, line.text) for reading in readings[position]]
            lines, letters = lines + 1, letters + len(line.text)
            read += bool(edits)
            exact += 0 in edits
            errors += sum(edits) / len(edits) if edits else len(line.text)
    if not lines:
        return {}
    return {
        "line recall": ratio(read, lines),
        "lines exact": ratio(exact, lines),
        "character error rate": ratio(errors, letters, rising=False),
    }


def agreement(both: Sequence[Both]) -> Measures:
    """Letters that both versions read alike, and lines that they read exactly alike."""
    edits = letters = same = lines = 0
    for pair in both:
        for a, b in pair.segments:
            for one, other in _side_by_side(a, b):
                edits += Levenshtein.distance(one.text if one else "", other.text if other else "")
                letters += max(len(one.text) if one else 0, len(other.text) if other else 0)
                same += bool(one and other and one.text == other.text)
                lines += 1
    return {"same letters": alike(letters - edits, letters), "same lines": alike(same, lines)}


def differences(pair: Both) -> Iterator[Difference]:
    """Segments in which a line is read differently, or by one version alone; ``size`` in letters."""
    for a, b in pair.segments:
        unlike = [
            (one, other)
            for one, other in _side_by_side(a, b)
            if (one.text if one else None) != (other.text if other else None)
        ]
        if not unlike:
            continue
        edits = sum(Levenshtein.distance(one.text if one else "", other.text if other else "") for one, other in unlike)
        frame = next(line.first for pair_ in unlike for line in pair_ if line is not None)
        yield Difference(
            "text",
            pair.clip,
            frame,
            float(edits),
            f"{edits} letters differ",
            _side(a.lines or (), [one for one, _ in unlike]),
            _side(b.lines or (), [other for _, other in unlike]),
        )


def _readings(found: Sequence[Line], wanted: Sequence[TrueLine]) -> dict[int, list[str]]:
    """The readings of each wanted line: those shown with it that are most like it, of all lines shown then."""
    readings: dict[int, list[str]] = defaultdict(list)
    for line in found:
        scored = [
            (Levenshtein.normalized_similarity(line.text, true.text), -position)
            for position, true in enumerate(wanted)
            if true.span.overlaps(line.span)
        ]
        best, position = max(scored, default=(0.0, 0))
        if best >= ONE_LINE:
            readings[-position].append(line.text)
    return readings


def _side_by_side(a: SegmentAnswer, b: SegmentAnswer) -> list[tuple[Line | None, Line | None]]:
    """Lines of one place, and those that one version alone has."""
    mine, theirs = a.lines or (), b.lines or ()
    # Equal texts first: of two lines at nearly one place each finds its own.
    equal = paired(mine, theirs, lambda one, other: float(one.text == other.text), 1.0)
    rest = [i for i in range(len(mine)) if i not in {i for i, _ in equal}]
    others = [j for j in range(len(theirs)) if j not in {j for _, j in equal}]
    near = same_place([mine[i].box for i in rest], [theirs[j].box for j in others], LINE_PLACE)
    pairs = [*equal, *((rest[i], others[j]) for i, j in near)]
    seen_a, seen_b = {i for i, _ in pairs}, {j for _, j in pairs}
    found: list[tuple[Line | None, Line | None]] = [(mine[i], theirs[j]) for i, j in sorted(pairs)]
    found += [(line, None) for i, line in enumerate(mine) if i not in seen_a]
    return found + [(None, line) for j, line in enumerate(theirs) if j not in seen_b]


def _side(lines: Sequence[Line], unlike: Sequence[Line | None]) -> Side:
    return Side(
        marks=tuple(Mark(line.box, "", line in unlike) for line in lines),
        lines=tuple(line.text for line in lines),
    )

"""Faces: how many, where, and whose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.comparing.answers import Answer, Both, Face, SegmentAnswer
from orchestrator.comparing.differences import Difference, Mark, Side
from orchestrator.comparing.measures import Measures, alike, mean, ratio, same_place
from orchestrator.comparing.similarity import cosine
from orchestrator.comparing.truth import Truth

ALIKE = 0.9  # cosine below which the two vectors of one face are worth a look


def accuracy(judged: Sequence[tuple[Answer, Truth]]) -> Measures:
    """Over the segments inside a span whose faces are counted: the share of faces found, segments with the right number, and how far off
    the number is."""
    wanted = found = right = 0
    off: list[float] = []
    for answer, truth in judged:
        for segment in answer.segments:
            for known in truth.faces:
                if segment.faces is not None and known.span.covers(segment.span):
                    wanted, found = wanted + known.count, found + min(known.count, segment.most_faces)
                    right += segment.most_faces == known.count
                    off.append(abs(segment.most_faces - known.count))
    if not off:
        return {}
    return {
        "recall": ratio(found, wanted),
        "right number": ratio(right, len(off)),
        "mean error of the number": mean(off, rising=False),
    }


def agreement(both: Sequence[Both]) -> Measures:
    """Faces that both versions see at one place, segments in which both see as many, and the likeness of one face's two vectors."""
    hits = seen = same = segments = 0
    cosines: list[float] = []
    for pair in both:
        for a, b in pair.segments:
            if a.faces is not None and b.faces is not None:
                shared = _shared(a.faces, b.faces)
                cosines += [cosine(a.faces[i].vector, b.faces[j].vector) for i, j in shared]
                hits, seen = hits + len(shared), seen + len(a.faces) + len(b.faces)
                same, segments = same + (a.most_faces == b.most_faces), segments + 1
    return {
        "same faces": alike(2 * hits, seen, of=seen - hits),
        "same number": alike(same, segments),
        "mean cosine": mean(cosines),
    }


def differences(pair: Both) -> Iterator[Difference]:
    """Segments with faces that one version alone sees, or whose vectors differ; ``size``: the sum of scores, or of what is missing of
    the cosine."""
    for a, b in pair.segments:
        mine, theirs = a.faces or (), b.faces or ()
        shared = _shared(mine, theirs)
        only_a = [face for i, face in enumerate(mine) if i not in {i for i, _ in shared}]
        only_b = [face for j, face in enumerate(theirs) if j not in {j for _, j in shared}]
        strange = [(mine[i], theirs[j]) for i, j in shared if cosine(mine[i].vector, theirs[j].vector) < ALIKE]
        if not (only_a or only_b or strange):
            continue
        size = sum(face.seen.score for face in (*only_a, *only_b))
        size += sum(1 - cosine(one.vector, other.vector) for one, other in strange)
        said = [f"A sees {len(mine)}, B {len(theirs)}"] if only_a or only_b else []
        said += [f"cosine {cosine(one.vector, other.vector):.2f}" for one, other in strange]
        sides = (
            _side(mine, [*only_a, *(one for one, _ in strange)]),
            _side(theirs, [*only_b, *(two for _, two in strange)]),
        )
        yield Difference("faces", pair.clip, _frame(a, [*only_a, *only_b, *mine]), size, "; ".join(said), *sides)


def _shared(a: Sequence[Face], b: Sequence[Face]) -> list[tuple[int, int]]:
    return same_place([face.seen.box for face in a], [face.seen.box for face in b])


def _frame(segment: SegmentAnswer, faces: Sequence[Face]) -> int:
    return faces[0].seen.frame if faces else segment.frame


def _side(faces: Sequence[Face], alone: Sequence[Face]) -> Side:
    return Side(marks=tuple(Mark(face.seen.box, f"face {face.seen.score:.2f}", face in alone) for face in faces))

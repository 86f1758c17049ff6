"""Small answers."""

from __future__ import annotations

from itertools import pairwise

from orchestrator.comparing.answers import Answer, Cut, Detection, Face, Line, SegmentAnswer, Span, Unsafe
from orchestrator.core.results import Box

LEFT: Box = (0.0, 0.0, 0.4, 1.0)
RIGHT: Box = (0.6, 0.0, 1.0, 1.0)
NEARLY_LEFT: Box = (0.0, 0.0, 0.3, 1.0)  # IoU 0.75


def cuts(*frames: int, length: int = 100, score: float = 0.9) -> Answer:
    edges = [0, *frames, length]
    segments = [SegmentAnswer(Span(start, end), start, starts_shot=Cut(start, score)) for start, end in pairwise(edges)]
    return Answer("clip.mp4", tuple(segments), frozenset({"shots"}))


def of(analyzer: str, *segments: dict[str, object], length: int = 25) -> Answer:
    """Segments of ``length`` frames each."""
    made = [
        SegmentAnswer(Span(length * place, length * (place + 1)), length * place, **said)  # type: ignore[arg-type]
        for place, said in enumerate(segments)
    ]
    return Answer("clip.mp4", tuple(made), frozenset({analyzer}))


def objects(*found: Detection) -> dict[str, object]:
    return {"objects": found}


def thing(label: str, frame: int = 0, box: Box = LEFT, score: float = 0.8) -> Detection:
    return Detection(frame, label, box, score)


def lines(*texts: str, first: int = 0, last: int = 24) -> dict[str, object]:
    """One below the other."""
    return {
        "lines": tuple(
            Line(text, first, last, (0.0, 0.2 * place, 1.0, 0.2 * place + 0.15), 0.9)
            for place, text in enumerate(texts)
        )
    }


def faces(*boxes: Box, vector: tuple[float, ...] = (1.0, 0.0)) -> dict[str, object]:
    return {
        "faces": tuple(Face(Detection(0, "face", box, 0.9), vector) for box in boxes),
        "most_faces": len(boxes),
    }


def ranked(**scores: float) -> dict[str, object]:
    return {"ranking": tuple((name.replace("_", " "), score) for name, score in scores.items())}


def unsafe(score: float, frame: int = 0) -> dict[str, object]:
    return {"unsafe": Unsafe(score, frame)}

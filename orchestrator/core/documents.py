"""What can be searched of a segment: its document, drawn from its annotations. Pure.

A further kind of annotation that holds words (speech, captions) becomes searchable here, by one more case.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrator.core.results import (
    Annotation,
    Faces,
    LabelScore,
    ModelVersion,
    Moderation,
    ObjectTrack,
    Similarity,
    TextLine,
)
from orchestrator.core.searching import MatchKind
from orchestrator.core.words import words

K = TypeVar("K")

_CLEAR = 0.1  # a label below says too little of what the segment means
_TAGS = {MatchKind.LABEL: "l", MatchKind.OBJECT: "o"}
_KINDS = {tag: kind for kind, tag in _TAGS.items()}


@dataclass(frozen=True, slots=True)
class ClassScore:
    """A class of the picture (``LABEL``) or of objects, and its best score in the segment. Synonyms are separated by
    commas."""

    kind: MatchKind
    name: str
    score: float

    @property
    def names(self) -> tuple[str, ...]:
        """The names it may be asked for by, folded."""
        parts = (self.name, *self.name.split(",")) if "," in self.name else (self.name,)
        return tuple(dict.fromkeys(name for part in parts if (name := class_name(part))))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of on-screen text and the score of its best reading."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Look:
    """The image vector of a segment (unit length), comparable with those of the same ``space``: its model's digest."""

    space: str
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What a segment may be found by. ``None``: no analyzer has answered that."""

    classes: tuple[ClassScore, ...] = ()
    lines: tuple[Line, ...] = ()
    has_face: bool | None = None
    moderation: float | None = None
    look: Look | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        """What the segment is about, as its vector of meaning is made of; empty when it has no words."""
        clear = [item for item in self.classes if item.kind is MatchKind.OBJECT or item.score >= _CLEAR]
        names = dict.fromkeys(item.name.split(",")[0].strip() for item in clear)
        return ". ".join(part for part in (", ".join(names), *(line.text for line in self.lines)) if part)

    @property
    def searchable(self) -> tuple[str, ...]:
        """Every text that words are looked for in; a phrase lies within one of them."""
        return (*(item.name for item in self.classes), *(line.text for line in self.lines))

    def class_scores(self) -> Mapping[str, float]:
        """The best score by every folded name."""
        best: dict[str, float] = {}
        for item in self.classes:
            for name in item.names:
                best[name] = max(item.score, best.get(name, 0.0))
        return best


def class_name(name: str) -> str:
    """``name`` folded, as classes are compared."""
    return " ".join(words(name))


def document_of(annotations: Iterable[Annotation]) -> Document:
    """The document of a segment's annotations. An object counts by its best track, a line by its best reading."""
    classes: dict[tuple[MatchKind, str], float] = {}
    lines: dict[str, float] = {}
    has_face: bool | None = None
    moderation: float | None = None
    look: Look | None = None
    for annotation in annotations:
        match annotation.value:
            case Faces(faces):
                has_face = bool(faces)
            case Moderation(max_score=score):
                moderation = score
            case Similarity(vector):
                look = Look(_space(annotation.models), vector)
            case tuple(items):
                for item in items:
                    match item:
                        case LabelScore(label=name, score=score):
                            _raise(classes, (MatchKind.LABEL, name), score)
                        case ObjectTrack(label=name, score=score):
                            _raise(classes, (MatchKind.OBJECT, name), score)
                        case TextLine(text=text, score=score):
                            _raise(lines, text, score)
            case _:  # shots say nothing that is searched
                pass
    ranked = sorted(classes.items(), key=lambda entry: (-entry[1], entry[0]))
    return Document(
        tuple(ClassScore(kind, name, score) for (kind, name), score in ranked),
        tuple(Line(text, score) for text, score in lines.items()),
        has_face,
        moderation,
        look,
    )


def dump(document: Document) -> str:
    """The words of ``document`` as JSON; the look is kept apart."""
    classes = [[_TAGS[item.kind], item.name, round(item.score, 6)] for item in document.classes]
    lines = [[line.text, round(line.score, 6)] for line in document.lines]
    return json.dumps({"classes": classes, "lines": lines}, ensure_ascii=False, separators=(",", ":"))


def load_classes(text: str) -> list[tuple[str, float]]:
    """Names and scores of the classes of what ``dump`` wrote; the quick way for many."""
    return [(name, score) for _, name, score in json.loads(text)["classes"]]


def load(text: str, has_face: bool | None = None, moderation: float | None = None) -> Document:
    """What ``dump`` wrote."""
    found = json.loads(text)
    return Document(
        tuple(ClassScore(_KINDS[tag], name, score) for tag, name, score in found["classes"]),
        tuple(Line(line, score) for line, score in found["lines"]),
        has_face,
        moderation,
    )


def _space(models: Iterable[ModelVersion]) -> str:
    return "+".join(model.digest for model in models)


def _raise(best: dict[K, float], key: K, score: float) -> None:
    best[key] = max(score, best.get(key, 0.0))

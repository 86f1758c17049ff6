"""As many segments as are wanted, drawn from the real annotations of the composite with seeded variation.

Words: a real segment's labels and objects with other scores, some of them exchanged for other classes of the same
models; its lines with some words exchanged. Image vectors: weighted means of two real ones and, of each coordinate, a
random part. Vectors of meaning: the mean of the real MiniLM vectors of the parts of the text, and some noise.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.documents import ClassScore, Document, Line
from orchestrator.core.searching import MatchKind

Floats = NDArray[np.float32]
CHUNK = 5000
PER_ANALYSIS = 20
SPACE = "f" * 64


@dataclass(frozen=True)
class Chunk:
    """``CHUNK`` segments: documents, image vectors [n, 1280], vectors of meaning [n, 384], durations in nanoseconds."""

    first: int
    documents: list[Document]
    looks: Floats
    meanings: Floats
    durations: NDArray[np.int64]


def annotate(video: Path) -> list[dict[str, Any]]:
    """The segments of ``video`` as `reelsift analyze --json` tells them."""
    command = [sys.executable, "-m", "orchestrator.cli.main", "analyze", str(video), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return segments_of(done.stdout.splitlines())


def segments_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The segments among responses."""
    return [response["segment"] for line in lines if "segment" in (response := json.loads(line))]


class Corpus:
    """Draws. ``vectors``: the vectors of meaning of every text in ``texts(...)``."""

    def __init__(
        self,
        segments: Sequence[dict[str, Any]],
        labels: Sequence[str],
        objects: Sequence[str],
        vectors: dict[str, Floats],
    ) -> None:
        self._real = [_Real.of(segment) for segment in segments]
        self._looks = np.array([real.look for real in self._real], np.float32)
        self._labels, self._objects, self._vectors = labels, objects, vectors
        self._words = [word for real in self._real for line in real.lines for word in line.split()]
        # Some classes are everywhere, most are rare.
        self._label_odds, self._object_odds = _zipf(len(labels)), _zipf(len(objects))

    @staticmethod
    def texts(segments: Sequence[dict[str, Any]], labels: Sequence[str], objects: Sequence[str]) -> list[str]:
        """Every part that a drawn text is made of."""
        words = {word for segment in segments for line in _Real.of(segment).lines for word in line.split()}
        return sorted({*(_first_name(label) for label in labels), *objects, *words})

    def chunk(self, number: int) -> Chunk:
        """The segments ``number * CHUNK`` and on; the same whenever it is asked for."""
        rng = np.random.default_rng((11, number))
        bases = rng.integers(len(self._real), size=CHUNK)
        documents = [self._document(self._real[base], rng) for base in bases]
        meanings = np.stack([self._meaning(document) for document in documents])
        meanings += rng.normal(0, 0.01, meanings.shape).astype(np.float32)
        shares = rng.random((CHUNK, 1), np.float32)
        looks = shares * self._looks[bases] + (1 - shares) * self._looks[rng.integers(len(self._real), size=CHUNK)]
        looks *= rng.gamma(8.0, 0.125, looks.shape).astype(np.float32)
        durations = (rng.gamma(2.0, 1.5, CHUNK) * 1e9).astype(np.int64) + 40_000_000
        return Chunk(number * CHUNK, documents, _unit(looks), _unit(meanings), durations)

    def _document(self, real: _Real, rng: np.random.Generator) -> Document:
        labels = self._varied(real.labels, self._labels, self._label_odds, rng)
        objects = self._varied(real.objects, self._objects, self._object_odds, rng)
        lines = [self._line(line, rng) for line in real.lines if rng.random() < 0.7]
        return Document(
            tuple(
                [ClassScore(MatchKind.LABEL, name, score) for name, score in labels.items()]
                + [ClassScore(MatchKind.OBJECT, name, score) for name, score in objects.items()]
            ),
            tuple(Line(line, round(float(rng.uniform(0.85, 1.0)), 4)) for line in lines),
            bool(rng.random() < 0.8) if real.has_face else bool(rng.random() < 0.1),
            float(np.clip(real.moderation * rng.gamma(2.0, 0.5), 0, 1)),
        )

    def _varied(
        self, real: dict[str, float], names: Sequence[str], odds: NDArray[np.float64], rng: np.random.Generator
    ) -> dict[str, float]:
        found = {}
        for name, score in real.items():
            chosen = name if rng.random() < 0.4 else names[int(np.searchsorted(odds, rng.random()))]
            found[chosen] = round(float(np.clip(score * rng.uniform(0.6, 1.3), 0.05, 0.99)), 4)
        return found

    def _line(self, line: str, rng: np.random.Generator) -> str:
        words = [word if rng.random() < 0.6 else str(rng.choice(self._words)) for word in line.split()]
        return " ".join([*words, str(rng.integers(10_000))])

    def _meaning(self, document: Document) -> Floats:
        parts = [_first_name(item.name) for item in document.classes if item.score >= 0.1]
        parts += [word for line in document.lines for word in line.text.split() if word in self._vectors]
        vectors = [self._vectors[part] for part in parts if part in self._vectors] or [self._vectors[self._objects[0]]]
        return np.mean(vectors, axis=0, dtype=np.float32)


@dataclass(frozen=True)
class _Real:
    labels: dict[str, float]
    objects: dict[str, float]
    lines: tuple[str, ...]
    has_face: bool
    moderation: float
    look: tuple[float, ...]

    @staticmethod
    def of(segment: dict[str, Any]) -> _Real:
        values: dict[str, Any] = {}
        for annotation in segment["annotations"]:
            values |= annotation
        return _Real(
            {item["label"]: item["score"] for item in values["labels"].get("labels", ())},
            {item["label"]: item["score"] for item in values["objects"].get("tracks", ())},
            tuple(item["text"] for item in values["text"].get("lines", ())),
            bool(values["faces"].get("faces")),
            values["moderation"].get("maxScore", 0.0),
            tuple(values["similarity"]["vector"]),
        )


def _first_name(name: str) -> str:
    return name.split(",")[0].strip()


def _zipf(count: int) -> NDArray[np.float64]:
    """Cumulated odds of the first ``count`` ranks."""
    odds = np.cumsum(1.0 / np.arange(1, count + 1))
    return odds / odds[-1]


def _unit(vectors: NDArray[np.floating[Any]]) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

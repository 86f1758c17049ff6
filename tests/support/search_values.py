"""Segments to be found, and the shortest way of storing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from orchestrator.core.jobs import Checkpoint
from orchestrator.core.media import LedgerMark
from orchestrator.core.results import (
    Annotation,
    At,
    Faces,
    FaceSighting,
    LabelScore,
    ModelVersion,
    Moderation,
    ObjectTrack,
    Segment,
    Similarity,
    TextLine,
)
from orchestrator.core.timeline import Interval
from orchestrator.ports import AnalysisStore
from tests.support.store_values import STARTED, spec

MODEL = ModelVersion("labels", "1", "a" * 64)
TICKS = 12800  # pts in a second
BOX = (0.0, 0.0, 1.0, 1.0)


def seen(
    *,
    labels: Mapping[str, float] | None = None,
    objects: Mapping[str, float] | None = None,
    lines: Sequence[str] = (),
    faces: int | None = None,
    moderation: float | None = None,
    look: Sequence[float] | None = None,
) -> tuple[Annotation, ...]:
    """Annotations that say this; what is ``None`` was not analysed."""
    at = At(0, 0)
    found = [
        Annotation("labels", (MODEL,), tuple(LabelScore(n, s, s, at) for n, s in (labels or {}).items()), 1),
        Annotation(
            "objects", (MODEL,), tuple(ObjectTrack(i, n, s, ()) for i, (n, s) in enumerate((objects or {}).items())), 1
        ),
        Annotation("text", (MODEL,), tuple(TextLine(line, 0.99, BOX, at, at, 2) for line in lines), 1),
    ]
    if faces is not None:
        face = FaceSighting(0.9, BOX, at, 1, (1.0, 0.0))
        found.append(Annotation("faces", (MODEL,), Faces((face,) * faces, faces), 1))
    if moderation is not None:
        found.append(Annotation("moderation", (MODEL,), Moderation("nsfw", moderation, moderation, at), 1))
    if look is not None:
        vector = np.asarray(look, np.float64) / np.linalg.norm(look)
        found.append(Annotation("similarity", (MODEL,), Similarity(tuple(vector.tolist())), 1))
    return tuple(found)


async def stored(
    store: AnalysisStore,
    analysis_id: str,
    segments: Sequence[tuple[Annotation, ...]],
    *,
    seconds: Sequence[float] = (),
    tenant: str = "",
    labels: tuple[tuple[str, str], ...] = (),
) -> None:
    """Store an analysis of these segments; each lasts a second, or as many as ``seconds`` says."""
    await store.create(analysis_id, replace(spec(), tenant=tenant, labels=labels), limit=1_000_000)
    lease = await store.claim(analysis_id, "test")
    assert lease is not None
    await store.begin(lease, STARTED, None)
    start = 0
    for number, said in enumerate(segments):
        ticks = round((seconds[number] if seconds else 1.0) * TICKS)
        shift = STARTED.media.start_pts
        interval = Interval(number * 10, number * 10 + 10, start + shift, start + ticks + shift)
        checkpoint = Checkpoint(number + 1, number * 10 + 10, {}, LedgerMark(), {}, True)
        await store.commit_segment(lease, Segment(number, interval, said, None, False), checkpoint)
        start += ticks

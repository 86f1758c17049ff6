"""What decides an answer besides the bytes of the media, as a digest: equal keys mean equal answers. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence

from orchestrator.core.jobs import AnalyzerKey
from orchestrator.core.results import ModelVersion

REVISION = 1  # of what all analyzers rest on: decoding, scaling, sampling, near-duplicates, segmentation


def segmentation_key(max_segment_ns: int, shots: AnalyzerKey | None) -> str:
    """Key of the segments; ``shots`` is ``None`` where they are cut by length alone."""
    return _digest({"revision": REVISION, "max_segment_ns": max_segment_ns, "shots": shots and shots.key})


def analyzer_key(
    analyzer: str,
    options: object,
    models: Sequence[ModelVersion],
    revision: int,
    segmentation: str = "",
) -> AnalyzerKey:
    """Key of an analyzer: its ``options`` (a dataclass, or a mapping of names to values), the models it asks, the
    ``revision`` of its code, and how the media is cut into the segments that it sums up.

    Of a model its digest counts, not its name or version. Raises ``TypeError`` for options that are neither.
    """
    fields = {
        "analyzer": analyzer,
        "options": _fields(options),
        "models": [model.digest for model in models],
        "revision": revision,
        "segmentation": segmentation,
    }
    return AnalyzerKey(analyzer, _digest(fields))


def _fields(options: object) -> Mapping[str, object]:
    if dataclasses.is_dataclass(options) and not isinstance(options, type):
        return dataclasses.asdict(options)
    if isinstance(options, Mapping):
        return dict(options)
    raise TypeError(f"options are a dataclass or a mapping, got {type(options).__name__}")


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

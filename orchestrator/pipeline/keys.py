"""The keys by which answers are found again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.analyzers.registry import Selection
from orchestrator.core.jobs import AnalyzerKey
from orchestrator.core.keys import analyzer_key, segmentation_key
from orchestrator.core.profiles import Profile
from orchestrator.core.results import ModelVersion
from orchestrator.ports import Inference

Version = Callable[[str], ModelVersion | None]


def keys_of(profile: Profile, selection: Selection, inference: Inference) -> tuple[AnalyzerKey, ...]:
    """Keys of the analyzers of ``selection``, whose models must be ready. One that tells no ``revision`` has none:
    nothing says that its answers still hold."""
    return keys_by(profile, selection, inference.version)


def keys_by(profile: Profile, selection: Selection, version: Version) -> tuple[AnalyzerKey, ...]:
    """The same with versions from elsewhere; an analyzer with a model of which there is none has no key."""

    def key(analyzer: Any, segmentation: str = "") -> AnalyzerKey | None:
        versions = [known for model in analyzer.models if (known := version(model)) is not None]
        if len(versions) < len(analyzer.models) or not hasattr(analyzer, "revision"):
            return None
        options = getattr(analyzer, "options", profile.analyzers.get(analyzer.name, {}))
        return analyzer_key(analyzer.name, options, versions, analyzer.revision, segmentation)

    shots = selection.shots
    cutting = None if shots is None else key(shots)
    if shots is not None and cutting is None:
        return ()
    segmentation = segmentation_key(profile.max_segment_ns, cutting)
    # The answer of shots is the segmentation, so it has the key of one.
    found = [key(analyzer, segmentation) for analyzer in (*([shots] if shots else []), *selection.analyzers)]
    return tuple(each for each in found if each is not None)

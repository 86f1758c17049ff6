"""Answers of an earlier analysis of the same bytes, taken over instead of being computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.analyzers.keyframe import Keyframe
from orchestrator.analyzers.registry import Selection
from orchestrator.analyzers.shots import Shots
from orchestrator.core.jobs import ReusePlan
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import Annotation, Finished, ModelVersion, Segment, Shot, Thumbnail
from orchestrator.core.segmenting import PlannedSegment


@dataclass(frozen=True, slots=True)
class Known:
    """What ``plan`` takes over: all segments of the earlier analysis, whose extents hold for this one too, its media and its end.

    An earlier analysis without shots knows no cuts, and none are needed.
    """

    plan: ReusePlan
    segments: Sequence[Segment]
    media: MediaInfo
    finished: Finished

    def within(self, selection: Selection) -> Known | None:
        """What of it ``selection`` asks for, if that is of use: who computes the shots again computes everything again."""
        names = tuple(name for name in self.plan.analyzers if name in selection.names)
        if not names or (selection.shots is not None and selection.shots.name not in names):
            return None
        return replace(self, plan=replace(self.plan, analyzers=names))

    def rest(self, selection: Selection) -> Selection:
        """The analyzers that are still to run."""
        left = tuple(analyzer for analyzer in selection.analyzers if analyzer.name not in self.plan.analyzers)
        return Selection(None, left)

    def kept(self, segment: Segment) -> tuple[dict[str, Annotation], Thumbnail | None]:
        """Annotations by analyzer, and the thumbnail, that are taken over."""
        names = self.plan.analyzers
        annotations = {each.analyzer: each for each in segment.annotations if each.analyzer in names}
        return annotations, segment.thumbnail if Keyframe.name in names else None

    @property
    def versions(self) -> Mapping[str, ModelVersion]:
        """The models that its answers came from."""
        return {
            model.name: model
            for segment in self.segments
            for each in segment.annotations
            if each.analyzer in self.plan.analyzers
            for model in each.models
        }


def planned(segment: Segment) -> PlannedSegment:
    """The plan that a known segment came from."""
    shot = next((each.value for each in segment.annotations if each.analyzer == Shots.name), None)
    if not isinstance(shot, Shot):  # cut by length alone: all of it is one shot
        shot = Shot(0, starts_shot=segment.index == 0, score=1.0 if segment.index == 0 else 0.0)
    return PlannedSegment(segment.index, segment.interval, shot.shot_index, shot.starts_shot, shot.score, segment.final)

"""From the values of annotations to their messages: one function per kind."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from orchestrator.api import messages as pb
from orchestrator.core.results import (
    At,
    Faces,
    FaceSighting,
    LabelScore,
    Moderation,
    ObjectTrack,
    Shot,
    Similarity,
    TextLine,
    TrackPoint,
    Value,
)
from orchestrator.core.results import Box as Corners
from orchestrator.core.timeline import pts_to_ns


@dataclass(frozen=True, slots=True)
class Clock:
    """Turns pts of one media into nanoseconds after its first frame."""

    time_base: Fraction
    start_pts: int

    def offset_ns(self, pts: int) -> int:
        """Nanoseconds from the first frame to ``pts``, rounded down."""
        return pts_to_ns(pts - self.start_pts, self.time_base)

    def position(self, at: At) -> pb.FramePosition:
        """``at`` as a message."""
        return pb.FramePosition(frame=at.frame, pts=at.pts, offset_ns=self.offset_ns(at.pts))


# An empty tuple does not say of what: the built-in analyzers' names do.
_MAYBE_EMPTY = frozenset({"labels", "objects", "text"})


def set_value(message: pb.Annotation, value: Value, clock: Clock) -> None:
    """Write ``value`` into the oneof of ``message``, whose ``analyzer`` is already set."""
    match value:
        case Shot():
            message.shot.CopyFrom(
                pb.Shot(shot_index=value.shot_index, starts_shot=value.starts_shot, cut_score=value.score)
            )
        case Faces():
            message.faces.CopyFrom(
                pb.Faces(faces=[_face(face, clock) for face in value.faces], most_at_once=value.most_at_once)
            )
        case Moderation():
            message.moderation.CopyFrom(_moderation(value, clock))
        case Similarity():
            message.similarity.CopyFrom(pb.Similarity(vector=value.vector))
        case tuple():
            if message.analyzer in _MAYBE_EMPTY:
                getattr(message, message.analyzer).SetInParent()
            for item in value:
                _add_item(message, item, clock)


def _add_item(message: pb.Annotation, item: LabelScore | ObjectTrack | TextLine, clock: Clock) -> None:
    match item:
        case LabelScore():
            message.labels.labels.append(_label(item, clock))
        case ObjectTrack():
            message.objects.tracks.append(_track(item, clock))
        case TextLine():
            message.text.lines.append(_line(item, clock))


def _box(box: Corners) -> pb.Box:
    left, top, right, bottom = box
    return pb.Box(left=left, top=top, right=right, bottom=bottom)


def _label(label: LabelScore, clock: Clock) -> pb.Labels.Label:
    return pb.Labels.Label(
        label=label.label,
        score=label.score,
        best_score=label.best_score,
        best_position=clock.position(label.best),
    )


def _track(track: ObjectTrack, clock: Clock) -> pb.ObjectTracks.Track:
    return pb.ObjectTracks.Track(
        track_id=track.track_id,
        label=track.label,
        score=track.score,
        points=[_point(point, clock) for point in track.points],
    )


def _point(point: TrackPoint, clock: Clock) -> pb.ObjectTracks.Point:
    return pb.ObjectTracks.Point(position=clock.position(point.at), box=_box(point.box), score=point.score)


def _line(line: TextLine, clock: Clock) -> pb.TextLines.Line:
    return pb.TextLines.Line(
        text=line.text,
        score=line.score,
        box=_box(line.box),
        first_position=clock.position(line.first),
        last_position=clock.position(line.last),
        reading_count=line.readings,
    )


def _face(face: FaceSighting, clock: Clock) -> pb.Faces.Face:
    return pb.Faces.Face(
        score=face.score,
        box=_box(face.box),
        position=clock.position(face.at),
        sighting_count=face.sightings,
        vector=face.vector,
    )


def _moderation(value: Moderation, clock: Clock) -> pb.Moderation:
    return pb.Moderation(
        label=value.label,
        max_score=value.max_score,
        mean_score=value.mean_score,
        max_position=clock.position(value.at),
    )

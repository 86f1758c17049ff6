"""Objects: what is where, followed through a shot."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.analyzers.base import Observation, SampledOptions
from orchestrator.analyzers.batch import PictureBatch
from orchestrator.analyzers.tracking import Tracker
from orchestrator.core.exact import decode_array, encode_array
from orchestrator.core.frames import Tap, View
from orchestrator.core.media import MediaInfo
from orchestrator.core.results import At, ObjectTrack, TrackPoint
from orchestrator.core.segmenting import PlannedSegment

VIEW = View(300, 300)
BATCH = 8


@dataclass(frozen=True, slots=True)
class Options(SampledOptions):
    """``min_score``: of a detection that may start a track; weaker ones only go on with one.

    ``lost_seconds``: how long a track waits for its object to come back.
    """

    fps: float = 2.0
    min_score: float = 0.45
    lost_seconds: float = 1.5


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects of one picture: boxes ``[n, 4]`` (0..1), scores ``[n]``, classes ``[n]``."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]


class Objects:
    """Detections of the model ``objects``, joined to tracks by ByteTrack. Tracks begin anew with every shot."""

    name = "objects"
    models = ("objects",)
    revision = 1

    def __init__(self, options: Options, names: Sequence[str]) -> None:
        self.options = options
        self._names = names
        self._memo: dict[str, object] = {}
        self._time_base = Fraction(1, 1000)
        self._tracker = Tracker(options.min_score, options.lost_seconds)
        self.tap = Tap(VIEW, options.sampling, BATCH, options.reuse)

    def open(self, media: MediaInfo) -> None:
        """Learn the clock that the tracker's motion model runs on."""
        self._time_base = media.time_base

    async def analyze(self, batch: PictureBatch) -> Sequence[Detections]:
        """Detections per picture."""
        out = await batch.infer("objects")
        found = []
        for boxes, scores, classes in zip(out["boxes"], out["scores"], out["classes"], strict=True):
            valid = classes >= 0
            found.append(Detections(boxes[valid], scores[valid], classes[valid]))
        return found

    def close(self, segment: PlannedSegment, seen: Sequence[Observation[Detections]]) -> tuple[ObjectTrack, ...] | None:
        """The tracks with their points inside the segment, strongest first."""
        if segment.starts_shot:
            self._tracker.reset()
        self._memo = self._encode(seen)
        points: dict[tuple[int, int], list[TrackPoint]] = defaultdict(list)
        for observation in seen:
            found, at = observation.value, observation.at
            for track, row in self._tracker.update(found.boxes, found.scores, found.classes, self._seconds(at)):
                box = tuple(float(value) for value in found.boxes[row])
                point = TrackPoint(at, (box[0], box[1], box[2], box[3]), float(found.scores[row]))
                points[track, int(found.classes[row])].append(point)
        tracks = [
            ObjectTrack(track, self._names[label], max(point.score for point in line), tuple(line))
            for (track, label), line in points.items()
        ]
        return tuple(sorted(tracks, key=lambda track: (-track.score, track.track_id)))

    def memo(self) -> object:
        """The detections of the segment: the tracker's state is a function of all of its shot, and of the next free id before them."""
        return self._memo

    def recall(self, memos: Sequence[object]) -> None:
        """Track them again."""
        self._tracker.reset()
        for number, memo in enumerate(memos):
            assert isinstance(memo, dict)
            if number == 0:
                self._tracker.next_id = int(memo["next_id"])
            boxes = cast(NDArray[np.float32], decode_array(memo["boxes"]))
            scores = cast(NDArray[np.float32], decode_array(memo["scores"]))
            classes = cast(NDArray[np.int32], decode_array(memo["classes"]))
            start = 0
            for count, at in zip(decode_array(memo["counts"]), decode_array(memo["seconds"]).tolist(), strict=True):
                rows = slice(start, start := start + count)
                deque(
                    self._tracker.update(boxes[rows], scores[rows], classes[rows], at), maxlen=0
                )  # runs it to its end

    def _seconds(self, at: At) -> float:
        return float(at.pts * self._time_base)

    def _encode(self, seen: Sequence[Observation[Detections]]) -> dict[str, object]:
        found = [observation.value for observation in seen]
        return {
            "next_id": self._tracker.next_id,
            "counts": encode_array(np.array([len(each.scores) for each in found], np.int32)),
            "seconds": encode_array(np.array([self._seconds(observation.at) for observation in seen], np.float64)),
            "boxes": encode_array(np.concatenate([np.zeros((0, 4), np.float32), *(each.boxes for each in found)])),
            "scores": encode_array(np.concatenate([np.zeros(0, np.float32), *(each.scores for each in found)])),
            "classes": encode_array(np.concatenate([np.zeros(0, np.int32), *(each.classes for each in found)])),
        }
